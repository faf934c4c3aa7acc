//! The parts of a Sentinel's event, for display. Pure.

/// Whether an event is about a failover. Others are about instances that appear or disappear.
pub fn is_about_failover(name: &str, text: &str) -> bool {
    let of_primary = text.starts_with("master ");
    match name {
        "+sdown" | "-sdown" | "+odown" | "-odown" => of_primary,
        "+try-failover"
        | "+elected-leader"
        | "+selected-slave"
        | "+promoted-slave"
        | "+switch-master"
        | "+failover-end"
        | "+failover-end-for-timeout"
        | "+convert-to-slave"
        | "+tilt"
        | "-tilt"
        | "+reboot" => true,
        _ => name.starts_with("+failover-state-") || name.starts_with("-failover-abort"),
    }
}

/// The node that an event is about, and further details. `lab` translates an address to a name.
pub fn subject(
    name: &str,
    text: &str,
    lab: &dyn Fn(&str) -> String,
) -> (Option<String>, Option<String>) {
    let words: Vec<&str> = text.split_whitespace().collect();
    match (name, words.as_slice()) {
        // <name> <old ip> <old port> <new ip> <new port>
        ("+switch-master", [_, old, _, new, _]) => {
            (Some(lab(new)), Some(format!("instead of {}", lab(old))))
        }
        // <kind> <name> <ip> <port> ...
        (_, [_, _, ip, _, rest @ ..]) => {
            let detail = rest
                .iter()
                .find_map(|word| word.strip_prefix("#quorum"))
                .and_then(|_| rest.last())
                .map(|votes| format!("quorum {votes}"));
            (Some(lab(ip)), detail)
        }
        _ => (None, (!text.is_empty()).then(|| text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_concerns_the_primary_or_a_change_of_it_is_about_a_failover() {
        for (name, text, about) in [
            ("+sdown", "master halab 127.0.0.11 6379", true),
            ("-odown", "master halab 127.0.0.11 6379", true),
            (
                "+sdown",
                "slave 127.0.0.12:6379 127.0.0.12 6379 @ halab",
                false,
            ),
            (
                "+switch-master",
                "halab 127.0.0.11 6379 127.0.0.12 6379",
                true,
            ),
            ("+promoted-slave", "slave 127.0.0.12:6379", true),
            ("+tilt", "#tilt mode entered", true),
            ("+failover-state-reconf-slaves", "master halab", true),
            ("-failover-abort-not-elected", "master halab", true),
            (
                "+slave",
                "slave 127.0.0.12:6379 127.0.0.12 6379 @ halab",
                false,
            ),
            ("+sentinel", "sentinel 0a1b 127.0.0.21 26379 @ halab", false),
        ] {
            assert_eq!(is_about_failover(name, text), about, "{name} {text}");
        }
    }

    #[test]
    fn an_event_names_the_node_it_is_about() {
        let lab = |ip: &str| format!("node {ip}");
        let parts = |name, text| {
            let (node, detail) = subject(name, text, &lab);
            (node.unwrap_or_default(), detail.unwrap_or_default())
        };
        let owned = |node: &str, detail: &str| (node.to_owned(), detail.to_owned());
        assert_eq!(
            parts("+switch-master", "halab .11 6379 .12 6379"),
            owned("node .12", "instead of node .11")
        );
        assert_eq!(
            parts("+odown", "master halab .11 6379 #quorum 3/2"),
            owned("node .11", "quorum 3/2")
        );
        assert_eq!(
            parts("+sdown", "slave .12:6379 .12 6379 @ halab .11 6379"),
            owned("node .12", "")
        );
        assert_eq!(
            parts("+tilt", "#tilt mode entered"),
            owned("", "#tilt mode entered")
        );
        assert_eq!(subject("+reboot", "", &lab), (None, None));
    }
}
