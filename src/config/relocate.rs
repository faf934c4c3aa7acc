//! Moves a lab into another network, so that several labs can run on one machine.

use std::net::Ipv4Addr;

use super::Lab;

impl Lab {
    /// The same lab with every node in the /24 network `subnet`, such as `[127, 9, 3]`.
    ///
    /// A node keeps the last octet of its address. If an earlier node of [`Lab::nodes`] already has
    /// it (their networks differed), or it is 0 or 255, the node gets the lowest octet that no
    /// other node has or keeps. So all addresses of a lab from [`Lab::parse`] remain unique; a lab
    /// with more than 254 addresses does not fit. After the nodes, the addresses of the monitoring
    /// and the proxy are moved.
    pub fn relocated(&self, subnet: [u8; 3]) -> Lab {
        let [a, b, c] = subnet;
        let monitoring = self.monitoring.iter();
        let wanted: Vec<u8> = self
            .nodes()
            .map(|n| n.address)
            .chain(monitoring.flat_map(|m| [m.address, m.writer_address]))
            .chain(self.proxy.iter().filter_map(|proxy| proxy.address))
            .map(last_octet)
            .collect();
        let mut taken: Vec<u8> = Vec::with_capacity(wanted.len());
        for &octet in &wanted {
            let free = |o: &u8| !taken.contains(o) && !wanted.contains(o);
            let keeps = (1..=254).contains(&octet) && !taken.contains(&octet);
            let octet = if keeps {
                octet
            } else {
                (1..=254).find(free).unwrap_or(octet)
            };
            taken.push(octet);
        }
        let mut lab = self.clone();
        let nodes = lab.data_nodes.iter_mut().chain(&mut lab.sentinels);
        let monitoring = lab.monitoring.iter_mut();
        let addresses = nodes
            .map(|n| &mut n.address)
            .chain(monitoring.flat_map(|m| [&mut m.address, &mut m.writer_address]))
            .chain(lab.proxy.iter_mut().filter_map(|p| p.address.as_mut()));
        for (address, octet) in addresses.zip(taken) {
            *address = Ipv4Addr::new(a, b, c, octet);
        }
        lab
    }
}

fn last_octet(address: Ipv4Addr) -> u8 {
    let [.., last] = address.octets();
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lab(addresses: [&str; 5]) -> Lab {
        let shipped = include_str!("../../lab.toml");
        let mut lab = Lab::parse(shipped, None).unwrap();
        let nodes = lab.data_nodes.iter_mut().chain(&mut lab.sentinels);
        for (node, address) in nodes.zip(addresses) {
            node.address = address.parse().unwrap();
        }
        lab
    }

    fn addresses(lab: &Lab) -> Vec<String> {
        lab.nodes().map(|n| n.address.to_string()).collect()
    }

    #[test]
    fn a_relocated_lab_differs_in_nothing_but_the_network() {
        let original = lab([
            "127.0.0.11",
            "127.0.0.12",
            "127.0.0.21",
            "127.0.0.22",
            "127.0.0.23",
        ]);
        let moved = original.relocated([127, 9, 3]);
        assert_eq!(
            addresses(&moved),
            [
                "127.9.3.11",
                "127.9.3.12",
                "127.9.3.21",
                "127.9.3.22",
                "127.9.3.23"
            ]
        );
        assert_eq!(moved.relocated([127, 0, 0]), original);
    }

    #[test]
    fn the_monitoring_moves_with_the_nodes_and_onto_none_of_them() {
        let mut original = lab([
            "127.0.0.11",
            "127.0.0.12",
            "127.0.0.21",
            "127.0.0.22",
            "127.0.0.23",
        ]);
        let monitoring = original.monitoring.as_mut().unwrap();
        monitoring.writer_address = "127.5.5.11".parse().unwrap();
        let moved = original.relocated([127, 9, 3]).monitoring.unwrap();
        assert_eq!(moved.address.to_string(), "127.9.3.31");
        assert_eq!(moved.writer_address.to_string(), "127.9.3.1");
    }

    #[test]
    fn the_proxy_moves_too_whether_its_address_is_stated_or_not() {
        let mut lab = Lab::parse(include_str!("../../lab.toml"), None).unwrap();
        let at = |lab: &Lab| lab.relocated([127, 9, 3]).proxy_socket().to_string();
        for address in [Some("127.0.0.51".parse().unwrap()), None] {
            lab.proxy.as_mut().unwrap().address = address;
            assert_eq!(at(&lab), "127.9.3.51:6379");
        }
        lab.proxy.as_mut().unwrap().address = Some("127.5.5.11".parse().unwrap());
        assert_eq!(at(&lab), "127.9.3.1:6379");
        lab.proxy = None;
        assert_eq!(at(&lab), "127.9.3.51:6379");
    }

    #[test]
    fn nodes_with_the_same_last_octet_stay_apart() {
        let original = lab(["10.0.1.5", "10.0.2.5", "10.0.3.5", "10.0.1.1", "10.0.1.255"]);
        assert_eq!(
            addresses(&original.relocated([127, 9, 3])),
            [
                "127.9.3.5",
                "127.9.3.2",
                "127.9.3.3",
                "127.9.3.1",
                "127.9.3.4"
            ]
        );
    }
}
