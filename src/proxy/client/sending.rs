//! Sends the commands of a client, each when its turn has come, or answers it in place of the
//! primary.

use bytes::Bytes;

use crate::proxy::carried::encoded;
use crate::proxy::kind::Kind;
use crate::proxy::sent::{ClientRequest, Sent};

use super::ClientTask;

impl ClientTask {
    /// Sends the commands that are waiting.
    pub(super) fn send_commands(&mut self) {
        let Some(link) = &mut self.primary else {
            return;
        };
        let pipeline = &mut self.pipeline;
        let after = link.session.last_answered_round();
        while link.can_send()
            && let Some(request) = pipeline.first_waiting()
        {
            let is_barrier = match request.kind {
                Kind::Quit | Kind::Reset => true,
                Kind::Unsubscribe(_) => request.frames == 0,
                _ => false,
            };
            if is_barrier && pipeline.has_sent() {
                return;
            }
            let Some(mut request) = pipeline.take_waiting() else {
                return;
            };
            // In its turn: the commands before it are answered first.
            if let Some(answer) = request.refusal.clone() {
                pipeline.add_sent(Sent::answered_by_proxy(request, answer));
                continue;
            }
            match request.kind {
                Kind::Quit => {
                    self.is_ending = true;
                    pipeline.drop_waiting();
                    let answer = Bytes::from_static(b"+OK\r\n");
                    pipeline.add_sent(Sent::answered_by_proxy(request, answer));
                    return;
                }
                Kind::Exec if self.carried.exec_must_fail() => {
                    let discard = ClientRequest {
                        command: encoded(&[b"DISCARD"]),
                        kind: Kind::Discard,
                        is_restoring: true,
                        ..request.clone()
                    };
                    link.out.extend_from_slice(&discard.command);
                    pipeline.add_sent(Sent::new(discard, after));
                    let nil = match self.carried.is_resp3() {
                        true => Bytes::from_static(b"_\r\n"),
                        false => Bytes::from_static(b"*-1\r\n"),
                    };
                    pipeline.add_sent(Sent::answered_by_proxy(request, nil));
                    continue;
                }
                Kind::Unsubscribe(topic) if request.frames == 0 => {
                    request.frames = self.carried.subscriptions_to(topic).max(1);
                }
                _ => {}
            }
            link.out.extend_from_slice(&request.command);
            pipeline.add_sent(Sent::new(request, after));
        }
    }
}
