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
