//! Links between nodes on the loopback that are cut for a time, in the network of this machine. The
//! kernel itself ends each cut, so nothing stays cut if this program is killed.

use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Lab;

use super::network::{NetworkError, both_ways, run};

/// Cuts links of one lab. Its rules are removed when it is dropped.
#[derive(Debug)]
pub struct TimedCuts {
    table: String,
    /// The end of the last cut; none: there are no rules yet.
    until: Mutex<Option<Instant>>,
}

impl TimedCuts {
    /// For a lab whose nodes are all on the loopback, if this program may change rules of the
    /// network; none otherwise. Removes what a killed program has left.
    pub fn of(lab: &Lab) -> Option<Self> {
        let first = lab.data_nodes.first()?.address;
        let [a, b, c, d] = first.octets();
        let cuts = TimedCuts {
            table: format!("halab_{a}_{b}_{c}_{d}"),
            until: Mutex::default(),
        };
        let is_here = lab.nodes().all(|node| node.address.is_loopback());
        if !is_here || run("nft", &["--check", "-f", "-"], &cuts.rules()).is_err() {
            return None;
        }
        cuts.remove_rules();
        Some(cuts)
    }

    /// An error means that there are none, or leaves a table whose cuts end by themselves.
    fn remove_rules(&self) {
        let _ = run("nft", &["delete", "table", "ip", &self.table], "");
    }

    /// The table, anew.
    fn rules(&self) -> String {
        let table = &self.table;
        // Dropped on input: on output, the sender would get an error.
        format!(
            "add table ip {table}\ndelete table ip {table}\nadd table ip {table}\n\
             add set ip {table} cut {{ type ipv4_addr . ipv4_addr ; flags timeout ; }}\n\
             add chain ip {table} in {{ type filter hook input priority 0 ; }}\n\
             add rule ip {table} in ip saddr . ip daddr @cut drop\n"
        )
    }

    /// Drops all packets between the two addresses of each pair for some time. Earlier cuts end.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn cut(&self, pairs: &[(Ipv4Addr, Ipv4Addr)], time: Duration) -> Result<(), NetworkError> {
        let table = &self.table;
        let limit = time.as_secs().max(1);
        let elements: Vec<String> = both_ways(pairs)
            .map(|(from, to)| format!("{from} . {to} timeout {limit}s"))
            .collect();
        let elements = elements.join(", ");
        let rules = self.rules();
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let added = format!("{rules}add element ip {table} cut {{ {elements} }}\n");
        run("nft", &["-f", "-"], &added)?;
        *until = Some(Instant::now() + time);
        Ok(())
    }

    /// Whether links are cut.
    pub fn is_cut(&self) -> bool {
        let until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| until > Instant::now())
    }
}

impl Drop for TimedCuts {
    fn drop(&mut self) {
        let until = self.until.get_mut().unwrap_or_else(PoisonError::into_inner);
        if until.is_some() {
            self.remove_rules();
        }
    }
}
