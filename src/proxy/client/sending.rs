//! Sends the commands of a client, each when its turn has come, or answers it in place of the
//! primary; and behind them the questions of a round, if that confirms them sooner.

use bytes::Bytes;
use tokio::time::Instant;

use crate::confirmation::OwnRound;
use crate::proxy::carried::encoded;
use crate::proxy::kind::Kind;
use crate::proxy::sent::{ClientRequest, Purpose, Sent};

use super::ClientTask;

impl ClientTask {
    /// Sends the commands that are waiting.
    pub(super) fn send_commands(&mut self) {
        let before = self.pipeline.sent_length();
        self.send_waiting();
        let added = self.pipeline.sent_length() - before;
        if added > 0 {
            self.begin_own_round(added);
        }
    }

    /// Sends the questions of a round behind so many `commands` that were just sent, if they need
    /// a confirmation and that is the way to it.
    fn begin_own_round(&mut self, commands: usize) {
        let (pipeline, options) = (&mut self.pipeline, &self.shared.options);
        let is_unconfirmed = |sent: &Sent| options.is_unconfirmed(sent.needs_primary());
        let Some(link) = &mut self.primary else {
            return;
        };
        // The last one may be over by now.
        link.end_finished_round();
        if link.may_begin_own_round(commands)
            && OwnRound::is_of_use(&link.session, commands)
            && pipeline.may_be_followed_by_questions(&self.carried)
            && pipeline.needs_confirmation(is_unconfirmed)
        {
            let round = OwnRound::begin(&link.session);
            let (questions, frames) = round.questions();
            let questions = ClientRequest {
                frames,
                purpose: Purpose::Confirm,
                ..ClientRequest::new(questions, Kind::Read, Instant::now())
            };
            link.out.extend_from_slice(&questions.command);
            if round.is_by_message() {
                pipeline.set_own_round(round.number());
            }
            pipeline.add_sent(Sent::new(questions, link.session.last_answered_round()));
            link.begin_own_round(round);
        }
    }

    fn send_waiting(&mut self) {
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
                        purpose: Purpose::Restore,
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
                Kind::Login => link.note_login(),
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
