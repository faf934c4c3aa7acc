//! A cancellation that one task awaits beside other events.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// The future of a cancellation, for a task that polls it beside others all the time. It is polled
/// once for each waker: then the task is woken, and the token itself says so.
#[derive(Debug)]
pub(super) struct Cancelled {
    token: CancellationToken,
    future: Pin<Box<WaitForCancellationFutureOwned>>,
    waker: Option<Waker>,
}

impl Cancelled {
    pub(super) fn new(token: CancellationToken) -> Self {
        Cancelled {
            future: Box::pin(token.clone().cancelled_owned()),
            token,
            waker: None,
        }
    }

    /// Ready when the token is cancelled.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let is_known = |waker: &Waker| waker.will_wake(cx.waker());
        if self.waker.as_ref().is_some_and(is_known) {
            return match self.token.is_cancelled() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            };
        }
        self.waker = Some(cx.waker().clone());
        self.future.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_task_is_woken_however_often_it_has_polled() {
        let token = CancellationToken::new();
        let mut cancelled = Cancelled::new(token.clone());
        let waiting = tokio::spawn(async move {
            for _ in 0..3 {
                let mut polled = false;
                poll_fn(|cx| match std::mem::replace(&mut polled, true) {
                    true => Poll::Ready(()),
                    false => {
                        assert!(cancelled.poll(cx).is_pending());
                        cx.waker().wake_by_ref();
                        Poll::Pending
                    }
                })
                .await;
            }
            poll_fn(|cx| cancelled.poll(cx)).await;
            poll_fn(|cx| cancelled.poll(cx)).await;
        });
        tokio::time::sleep(Duration::from_millis(10)).await;
        token.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(10), waiting).await;
        ended.unwrap().unwrap();
    }
}
