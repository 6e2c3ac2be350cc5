//! How long the rows of a join of streams are kept, and which rows of more than two streams belong together.
//!
//! Of two streams a pair belongs together if, when its later row comes, the earlier one is inside its own window (§4.5). Of more
//! streams this holds for every two of them: `(a ⋈ b) ⋈ c` gives the same rows as `a ⋈ (b ⋈ c)`, and a row of `a` that is kept
//! without a partner in `b` meets the rows of `c` that it would have met without `b`, although it comes out of the first join only
//! when its window ends. So a join of joined streams looks at the times of the rows that they are made of.

use super::window::JoinWindow;
use crate::operator::join_side::Keep;

/// Joined streams, or one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Joined {
    /// The windows of the streams, in the order in which they are written.
    pub(super) windows: Vec<JoinWindow>,
    /// How much later than the last of its rows a joined row can come, in milliseconds: what is kept without a partner waits for
    /// the end of its window.
    delay: i64,
}

impl Joined {
    /// A stream that is not joined yet.
    pub(super) fn of_stream(window: JoinWindow) -> Self {
        Self { windows: vec![window], delay: 0 }
    }

    /// True if no stream has a window.
    pub(super) fn is_current(&self) -> bool {
        self.windows.iter().all(|window| *window == JoinWindow::Current)
    }

    fn has_rows(&self) -> bool {
        self.windows.iter().any(|window| matches!(window, JoinWindow::Rows(_)))
    }

    fn text(&self) -> String {
        self.windows.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    /// How long after rows of these streams rows of `other` can match them: by its streams, then by these.
    fn reaches(&self, other: &Joined) -> Vec<Vec<i64>> {
        let of = |own: &JoinWindow, other: &JoinWindow| own.preceding().max(other.following());
        other.windows.iter().map(|other| self.windows.iter().map(|own| of(own, other)).collect()).collect()
    }
}

/// The windows of a join.
#[derive(Debug, Clone)]
pub(in crate::plan) struct JoinSpec {
    /// How long the rows of the sides are kept.
    pub(super) keep: (Keep, Keep),
    /// Set if a side has more than one stream.
    pub(super) several: Option<Several>,
    /// The windows as EXPLAIN shows them.
    pub(super) text: String,
}

/// What a join of joined streams asks of the times of their rows.
#[derive(Debug, Clone)]
pub(super) struct Several {
    /// How long after a row of the left side one of the right can come: by the streams of the right, then by those of the left.
    pub(super) forward: Vec<Vec<i64>>,
    /// The same the other way round.
    pub(super) backward: Vec<Vec<i64>>,
    /// How much later than their last rows joined rows of the sides can come.
    pub(super) delays: (i64, i64),
}

impl JoinSpec {
    /// The join of `left` and `right`, of which those `preserved` come without a partner, too; and what the result is made of.
    /// None if windows of rows do not go together with the others.
    pub(super) fn of(left: &Joined, right: &Joined, preserved: (bool, bool)) -> Option<(JoinSpec, Joined)> {
        let windows = [left.windows.as_slice(), &right.windows].concat();
        let text = format!("{} × {}", left.text(), right.text());
        let (forward, backward) = (left.reaches(right), right.reaches(left));
        // The last of the other side's streams that can still come, each within reach of all of its own.
        let reach = |reaches: &[Vec<i64>]| {
            let within = reaches.iter().map(|of_own| of_own.iter().copied().min().unwrap_or(0));
            within.max().unwrap_or(0)
        };
        let (keep_left, keep_right) = (reach(&forward).saturating_add(right.delay), reach(&backward).saturating_add(left.delay));
        if windows.len() > 2 {
            if left.has_rows() || right.has_rows() {
                return None;
            }
            let mut delay = left.delay.max(right.delay);
            if preserved.0 {
                delay = delay.max(keep_left);
            }
            if preserved.1 {
                delay = delay.max(keep_right);
            }
            let several = Several { forward, backward, delays: (left.delay, right.delay) };
            let keep = (Keep::For(keep_left), Keep::For(keep_right));
            return Some((JoinSpec { keep, several: Some(several), text }, Joined { windows, delay }));
        }
        let keep = |own: &Joined, other: &Joined, ms: i64| match (own.windows.as_slice(), other.windows.as_slice()) {
            ([JoinWindow::Rows(_)], [JoinWindow::Following(_)]) => None,
            ([JoinWindow::Rows(rows)], _) => Some(Keep::Rows(rows.saturating_add(1))),
            _ => Some(Keep::For(ms)),
        };
        let keep = (keep(left, right, keep_left)?, keep(right, left, keep_right)?);
        let longest = if preserved.0 { keep_left } else { 0 }.max(if preserved.1 { keep_right } else { 0 });
        Some((JoinSpec { keep, several: None, text }, Joined { windows, delay: longest }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(left: &Joined, right: &Joined, preserved: (bool, bool)) -> (JoinSpec, Joined) {
        JoinSpec::of(left, right, preserved).expect("windows of time")
    }

    #[test]
    fn two_streams_are_kept_as_long_as_their_windows() {
        let (a, b) = (Joined::of_stream(JoinWindow::Range(60)), Joined::of_stream(JoinWindow::Current));
        assert_eq!(join(&a, &b, (false, false)).0.keep, (Keep::For(60), Keep::For(0)));
        let c = Joined::of_stream(JoinWindow::Following(5));
        assert_eq!(join(&b, &c, (false, false)).0.keep, (Keep::For(5), Keep::For(0)));
        let rows = Joined::of_stream(JoinWindow::Rows(2));
        assert_eq!(join(&rows, &b, (false, false)).0.keep, (Keep::Rows(3), Keep::For(0)));
        assert!(JoinSpec::of(&rows, &c, (false, false)).is_none());
    }

    #[test]
    fn a_joined_row_is_kept_as_long_as_its_shortest_window() {
        let stream = |ms| Joined::of_stream(JoinWindow::Range(ms));
        let (_, ab) = join(&stream(60), &stream(10), (false, false));
        let (spec, _) = join(&ab, &stream(30), (false, false));
        assert_eq!(spec.keep, (Keep::For(10), Keep::For(30)));
        assert_eq!(
            spec.several.map(|several| (several.forward, several.backward)),
            Some((vec![vec![60, 10]], vec![vec![30], vec![30]]))
        );
    }

    #[test]
    fn what_waits_for_the_end_of_its_window_is_waited_for() {
        let stream = |ms| Joined::of_stream(JoinWindow::Range(ms));
        let (_, ab) = join(&stream(60), &stream(10), (true, false));
        let (spec, abc) = join(&ab, &stream(30), (true, false));
        assert_eq!(spec.keep, (Keep::For(10), Keep::For(90)), "30 before a row that comes up to 60 later");
        assert_eq!(abc.delay, 60);
    }

    #[test]
    fn windows_of_rows_are_for_two_streams() {
        let (_, ab) = join(&Joined::of_stream(JoinWindow::Rows(2)), &Joined::of_stream(JoinWindow::Current), (false, false));
        assert!(JoinSpec::of(&ab, &Joined::of_stream(JoinWindow::Range(1)), (false, false)).is_none());
    }
}
