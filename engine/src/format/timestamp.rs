//! Timestamps as text.
