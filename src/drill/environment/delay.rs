//! A constant delay of all packets between nodes, and between nodes and the writer.
//!
//! `netem` is missing in many kernels. So packets are queued to this process (NFQUEUE), which
//! accepts each after the delay. Packets of a node to itself are not delayed. The rules are removed
//! when it ends; if it ends by an error, no packet passes any more.

use std::collections::VecDeque;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with,
    sockopt,
};

use tracing::{error, warn};

use super::network::{NetworkError, is_own, run};

/// Number of the queue; the network namespace is the drill's own, so there is no other queue.
const QUEUE: u16 = 7;
/// The chain with its rules only.
const CHAIN: &str = "halab-delay";
/// Maximum number of waiting packets; more are dropped.
const QUEUE_LENGTH: u32 = 65_536;
/// Size of the socket's receive buffer.
const RECEIVE_BUFFER: usize = 1 << 22;
/// Maximum time until a request to stop is seen.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

// <linux/netfilter/nfnetlink_queue.h>; all are netlink messages of the subsystem 3.
const SUBSYSTEM: u16 = 3 << 8;
const PACKET: u16 = SUBSYSTEM;
const CONFIG: u16 = SUBSYSTEM | 2;
const VERDICT_BATCH: u16 = SUBSYSTEM | 3;
const CONFIG_COMMAND: u16 = 1;
const CONFIG_PARAMETERS: u16 = 2;
const CONFIG_LENGTH: u16 = 3;
const CONFIG_MASK: u16 = 4;
const CONFIG_FLAGS: u16 = 5;
const COMMAND_BIND: u8 = 1;
const COPY_NOTHING: u8 = 1;
/// Packets are queued unsegmented.
const FLAG_GSO: u32 = 4;
const PACKET_HEADER: u16 = 1;
const VERDICT_HEADER: u16 = 2;
const ACCEPT: u32 = 1;
const REQUEST: u16 = 1;
const WITH_ANSWER: u16 = 4;
const ERROR: u16 = 2;
/// Bytes of a netlink message's header, and of netfilter's header behind it.
const HEADER: usize = 16;
const NETFILTER_HEADER: usize = 4;

/// Delays packets until it is dropped.
#[derive(Debug)]
pub struct Delay {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    rules: Option<QueueRules>,
}

/// Why packets can't be delayed here, if so. To be called in a network namespace of the drill's
/// own.
pub fn missing() -> Option<String> {
    let why = |error: &dyn std::fmt::Display| format!("packets cannot be delayed here: {error}");
    if let Err(error) = run("iptables", &["-N", "halab-probe"], "") {
        return Some(why(&error));
    }
    let rule = ["-A", "halab-probe", "-j", "NFQUEUE"];
    let refused = run("iptables", &rule, "").err();
    // There are no other rules in the drill's network.
    for undo in ["-F", "-X"] {
        let _ = run("iptables", &[undo, "halab-probe"], "");
    }
    refused
        .map(|error| why(&error))
        .or_else(|| open().err().map(|error| why(&error)))
}

impl Delay {
    /// Delays all packets from one of these addresses to another.
    ///
    /// # Errors
    /// When this is no network namespace of the drill's own, or the kernel or a tool is missing.
    pub fn begin(one_way: Duration, addresses: &[Ipv4Addr]) -> Result<Self, NetworkError> {
        if !is_own() {
            return Err(NetworkError::NotOwn);
        }
        let failed = |why: io::Error| NetworkError::Command {
            command: "NFQUEUE".into(),
            why: why.to_string(),
        };
        let socket = open().map_err(failed)?;
        let rules = QueueRules::add(addresses)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name("delay".into())
            .spawn(move || {
                if let Err(error) = hold(&socket, one_way, &stopped) {
                    // No packet passes from here on, so the drill can't go on unnoticed.
                    error!(%error, "the delay of packets has failed");
                }
            })
            .map_err(failed)?;
        Ok(Delay {
            stop,
            thread: Some(thread),
            rules: Some(rules),
        })
    }
}

impl Drop for Delay {
    fn drop(&mut self) {
        // Before the thread ends, which reads the queue.
        self.rules = None;
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has logged its error.
            let _ = thread.join();
        }
    }
}

/// The rules that queue packets, until it is dropped: packets in a queue that is not read are lost.
#[derive(Debug)]
struct QueueRules;

impl QueueRules {
    fn add(addresses: &[Ipv4Addr]) -> Result<Self, NetworkError> {
        let iptables = |arguments: &[&str]| run("iptables", arguments, "");
        iptables(&["-N", CHAIN])?;
        // From here on, dropping it removes the rules that were added before an error.
        let rules = QueueRules;
        let queue = QUEUE.to_string();
        for address in addresses {
            let it = address.to_string();
            iptables(&["-A", CHAIN, "-s", &it, "-d", &it, "-j", "ACCEPT"])?;
            iptables(&[
                "-A",
                CHAIN,
                "-s",
                &it,
                "-j",
                "NFQUEUE",
                "--queue-num",
                &queue,
            ])?;
        }
        iptables(&["-A", "INPUT", "-j", CHAIN])?;
        Ok(rules)
    }
}

impl Drop for QueueRules {
    fn drop(&mut self) {
        for undo in [
            &["-D", "INPUT", "-j", CHAIN][..],
            &["-F", CHAIN],
            &["-X", CHAIN],
        ] {
            if let Err(error) = run("iptables", undo, "") {
                warn!(%error, "a rule of the delay remains");
            }
        }
    }
}

/// The socket of the queue.
fn open() -> io::Result<OwnedFd> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(NETFILTER),
    )?;
    bind(&socket, &SocketAddrNetlink::new(0, 0))?;
    sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER)?;
    // The protocol family is ignored by current kernels.
    configure(&socket, CONFIG_COMMAND, &[COMMAND_BIND, 0, 0, 0])?;
    configure(&socket, CONFIG_PARAMETERS, &[0, 0, 0, 0, COPY_NOTHING])?;
    configure(&socket, CONFIG_LENGTH, &QUEUE_LENGTH.to_be_bytes())?;
    let gso = [
        attribute(CONFIG_FLAGS, &FLAG_GSO.to_be_bytes()),
        attribute(CONFIG_MASK, &FLAG_GSO.to_be_bytes()),
    ];
    request(&socket, &gso.concat())?;
    Ok(socket)
}

fn configure(socket: &OwnedFd, kind: u16, value: &[u8]) -> io::Result<()> {
    request(socket, &attribute(kind, value))
}

/// Sends a configuration and reads the kernel's acknowledgement.
fn request(socket: &OwnedFd, attributes: &[u8]) -> io::Result<()> {
    let message = message(CONFIG, REQUEST | WITH_ANSWER, attributes);
    send(socket, &message, SendFlags::empty())?;
    let mut answer = [0; 4096];
    let (length, _) = recv(socket, &mut answer[..], RecvFlags::empty())?;
    let kind = u16::from_ne_bytes([answer[4], answer[5]]);
    let code = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
    if length < HEADER + 4 || kind != ERROR || code != 0 {
        return Err(io::Error::from_raw_os_error(code.saturating_neg()));
    }
    Ok(())
}

fn message(kind: u16, flags: u16, attributes: &[u8]) -> Vec<u8> {
    let length = HEADER + NETFILTER_HEADER + attributes.len();
    let mut out = Vec::with_capacity(length);
    out.extend(u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    // Sequence number and port: not needed here.
    out.extend([0; 8]);
    // Family and version, both 0.
    out.extend([0; 2]);
    out.extend(QUEUE.to_be_bytes());
    out.extend(attributes);
    out
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = 4 + value.len();
    let mut out = Vec::with_capacity(length.next_multiple_of(4));
    out.extend(u16::try_from(length).unwrap_or(u16::MAX).to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(value);
    out.resize(length.next_multiple_of(4), 0);
    out
}

/// Accepts each packet after the delay.
fn hold(socket: &OwnedFd, time: Duration, stop: &AtomicBool) -> io::Result<()> {
    let mut waiting: VecDeque<(Instant, u32)> = VecDeque::new();
    let mut buffer = vec![0; 1 << 16];
    while !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        let mut due = None;
        while let Some((at, packet)) = waiting.front().copied()
            && at <= now
        {
            due = Some(packet);
            waiting.pop_front();
        }
        if let Some(packet) = due {
            // That packet, and all before it.
            let verdict = [ACCEPT.to_be_bytes(), packet.to_be_bytes()].concat();
            let verdict = message(VERDICT_BATCH, REQUEST, &attribute(VERDICT_HEADER, &verdict));
            send(socket, &verdict, SendFlags::empty())?;
        }
        let next = waiting
            .front()
            .map(|(at, _)| at.saturating_duration_since(now));
        let pause = Timespec::try_from(next.unwrap_or(POLL_INTERVAL).min(POLL_INTERVAL));
        let mut ready = [PollFd::new(socket, PollFlags::IN)];
        poll(&mut ready, pause.ok().as_ref())?;
        // All messages that are available.
        loop {
            match recv(socket, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((length, _)) => {
                    let at = Instant::now() + time;
                    let length = length.min(buffer.len());
                    waiting.extend(packets(&buffer[..length]).map(|packet| (at, packet)));
                }
                Err(Errno::AGAIN) => break,
                // Packets were dropped, as on a full link.
                Err(Errno::NOBUFS) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// The numbers of the packets in the kernel's messages.
fn packets(mut messages: &[u8]) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        loop {
            let length = number(messages.get(..4)?)? as usize;
            let kind = u16::from_ne_bytes(messages.get(4..6)?.try_into().ok()?);
            let message = messages.get(..length)?;
            messages = messages
                .get(length.next_multiple_of(4)..)
                .unwrap_or_default();
            if kind == PACKET
                && let Some(packet) = packet(message.get(HEADER + NETFILTER_HEADER..)?)
            {
                return Some(packet);
            }
        }
    })
}

/// The number of a packet, from its attributes.
fn packet(mut attributes: &[u8]) -> Option<u32> {
    loop {
        let length = usize::from(u16::from_ne_bytes(attributes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(attributes.get(2..4)?.try_into().ok()?);
        if kind == PACKET_HEADER {
            let number = attributes.get(4..8)?;
            return Some(u32::from_be_bytes(number.try_into().ok()?));
        }
        attributes = attributes.get(length.max(4).next_multiple_of(4)..)?;
    }
}

fn number(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packets_in_the_messages_of_the_kernel_are_found() {
        let header = |id: u32| [&id.to_be_bytes()[..], &[8, 0, 1]].concat();
        let other = attribute(9, &[1]);
        let one = message(PACKET, 0, &attribute(PACKET_HEADER, &header(5)));
        let two = message(
            PACKET,
            0,
            &[other, attribute(PACKET_HEADER, &header(6))].concat(),
        );
        let answer = message(ERROR, 0, &[0; 4]);
        let all = [one, answer, two].concat();
        assert_eq!(packets(&all).collect::<Vec<_>>(), [5, 6]);
        // A truncated message has no more packets than the whole one.
        for end in 0..all.len() {
            assert!(packets(&all[..end]).count() <= 2);
        }
    }
}
