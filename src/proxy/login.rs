//! The name with which a client is logged in to the primary.
//!
//! On a data node, the user of an application has a second name for clients of the proxy, with the
//! same password and rights ([`crate::access::name_by_proxy`]). By it a handover recognizes the
//! proxy's connections: it leaves them open, so that the primary refuses what was not executed.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::access::name_by_proxy;

use super::carried::encoded;

/// `AUTH` or `HELLO` with the second name of the application, if it names one of `applications`.
pub fn by_proxy(words: &[&[u8]], applications: &BTreeSet<String>) -> Option<Bytes> {
    let is = |at: usize, name: &str| {
        let word = words.get(at);
        word.is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()))
    };
    let user = if is(0, "AUTH") && words.len() == 3 {
        1
    } else if is(0, "HELLO") {
        let mut option = 2;
        while is(option, "SETNAME") {
            option += 2;
        }
        if !is(option, "AUTH") {
            return None;
        }
        option + 1
    } else {
        return None;
    };
    let application = str::from_utf8(words.get(user)?).ok()?;
    let application = applications.get(application)?;
    let name = name_by_proxy(application);
    let mut words = words.to_vec();
    words[user] = name.as_bytes();
    Some(encoded(&words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(command: &str) -> Option<String> {
        let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        let applications = BTreeSet::from(["shop".to_owned()]);
        let sent = by_proxy(&words, &applications)?;
        let text = String::from_utf8_lossy(&sent).into_owned();
        let words = text.split("\r\n").filter(|w| !w.starts_with(['*', '$']));
        Some(words.collect::<Vec<_>>().join(" ").trim_end().to_owned())
    }

    #[test]
    fn an_application_is_logged_in_by_its_second_name() {
        assert_eq!(sent("AUTH shop pw").unwrap(), "AUTH shop@proxy pw");
        assert_eq!(
            sent("hello 3 setname me auth shop pw").unwrap(),
            "hello 3 setname me auth shop@proxy pw"
        );
    }

    #[test]
    fn any_other_login_is_sent_as_it_is() {
        for command in [
            "AUTH pw",
            "AUTH operator pw",
            "AUTH shop",
            "AUTH shop@proxy pw",
            "HELLO 3",
            "HELLO 3 AUTH",
            "HELLO 3 AUTH operator shop",
            "HELLO 3 SETNAME AUTH shop pw",
            "GET shop",
        ] {
            assert_eq!(sent(command), None, "{command}");
        }
    }
}
