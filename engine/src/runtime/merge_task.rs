//! The task of a stream that has inputs: merges their watermarks, aligns their barriers, runs its readers' chains.

use std::sync::Arc;
use std::task::Poll;

use super::channel::{Barrier, End, Event, EventReceiver};
use super::clock::{Clock, EventTime, sleep_until};
use super::stage::Stage;
use crate::checkpoint::coordinator::TaskState;
use crate::error::{Error, Result};

struct Input {
    events: EventReceiver,
    watermark: EventTime,
    idle: bool,
    /// Waiting for the barriers of the other inputs.
    blocked: bool,
    ended: Option<End>,
}

/// Runs until every input has ended.
pub async fn run(mut stage: Stage, inputs: Vec<EventReceiver>, clock: Arc<dyn Clock>) -> Result<()> {
    let mut inputs: Vec<Input> = inputs
        .into_iter()
        .map(|events| Input { events, watermark: EventTime::MIN, idle: false, blocked: false, ended: None })
        .collect();
    let mut first = 0;
    let mut aligning: Option<Barrier> = None;
    // A stream that nothing writes to ends at once.
    while inputs.iter().any(|input| input.ended.is_none()) {
        let wake = stage.wake_time();
        let (i, event) = tokio::select! {
            // What is due by the clock comes before a barrier that was sent after it.
            biased;
            () = sleep_until(&clock, wake) => {
                stage.wake(clock.now()).await?;
                continue;
            }
            next = next(&mut inputs, first) => next,
        };
        // Round robin: no input can starve the others.
        first = (i + 1) % inputs.len();
        match event.ok_or_else(|| Error::internal(super::stage::NEIGHBOUR_GONE))? {
            Event::Batch(batch) => {
                inputs[i].idle = false;
                stage.process(i, Event::Batch(batch)).await?;
            }
            Event::Watermark(watermark) => {
                inputs[i].idle = false;
                inputs[i].watermark = inputs[i].watermark.max(watermark);
                advance(&mut stage, &inputs).await?;
            }
            Event::Idle => {
                inputs[i].idle = true;
                advance(&mut stage, &inputs).await?;
                if inputs.iter().all(|input| input.idle || input.ended.is_some()) {
                    stage.process(i, Event::Idle).await?;
                }
            }
            Event::Barrier(barrier) => {
                inputs[i].blocked = true;
                aligning = Some(barrier);
            }
            Event::End(end) => {
                inputs[i].ended = Some(end);
                if end == End::Complete {
                    inputs[i].watermark = EventTime::MAX;
                }
                advance(&mut stage, &inputs).await?;
            }
        }
        // Everything before the barrier has arrived when each input has either reached it or ended.
        if let Some(barrier) = aligning.take_if(|_| inputs.iter().all(|input| input.blocked || input.ended.is_some())) {
            stage.pass_barrier(barrier, TaskState::default()).await?;
            inputs.iter_mut().for_each(|input| input.blocked = false);
        }
    }
    // One input that was stopped means that the data is not complete.
    let end = if inputs.iter().all(|input| input.ended == Some(End::Complete)) { End::Complete } else { End::Stopped };
    if end == End::Complete {
        stage.process(0, Event::Watermark(EventTime::MAX)).await?;
    }
    stage.process(0, Event::End(end)).await?;
    stage.finish(TaskState::default())
}

/// The next event of an input that is neither blocked nor at its end; the search starts at `first`.
async fn next(inputs: &mut [Input], first: usize) -> (usize, Option<Event>) {
    std::future::poll_fn(|cx| {
        for i in (first..inputs.len()).chain(0..first) {
            let input = &mut inputs[i];
            if !input.blocked
                && input.ended.is_none()
                && let Poll::Ready(event) = input.events.poll_next(cx)
            {
                return Poll::Ready((i, event));
            }
        }
        Poll::Pending
    })
    .await
}

/// Raises the stage's watermark to the slowest input that is not idle. If all are then none waits for another one, and
/// the fastest counts.
async fn advance(stage: &mut Stage, inputs: &[Input]) -> Result<()> {
    // An input at the end of time is about to end; the idle ones may still speak.
    let open = || inputs.iter().filter(|input| input.ended != Some(End::Complete) && input.watermark != EventTime::MAX);
    let slowest = open().filter(|input| !input.idle).map(|input| input.watermark).min();
    match slowest.or_else(|| open().map(|input| input.watermark).max()) {
        Some(watermark) if watermark > stage.watermark => stage.process(0, Event::Watermark(watermark)).await,
        _ => Ok(()),
    }
}
