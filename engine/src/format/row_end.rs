//! What ends the rows of delimited text: a character, or a short text.

use std::fmt;

use memchr::{memchr, memmem, memrchr};

/// Ends a row.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RowEnd {
    bytes: [u8; RowEnd::BYTES_MAX],
    length: u8,
}

impl RowEnd {
    /// Bytes that it can have. Ours: whatever ends rows in practice is shorter, and this is copied freely.
    pub const BYTES_MAX: usize = 16;

    /// A line feed; a carriage return before it belongs to it.
    pub const LINE_BREAK: Self = Self::byte(b'\n');

    /// One character.
    pub const fn byte(byte: u8) -> Self {
        let mut bytes = [0; Self::BYTES_MAX];
        bytes[0] = byte;
        Self { bytes, length: 1 }
    }

    /// A text; None if it is empty or longer than [`RowEnd::BYTES_MAX`]. CR LF is a line break.
    pub fn of(text: &str) -> Option<Self> {
        if text == "\r\n" {
            return Some(Self::LINE_BREAK);
        }
        let mut bytes = [0; Self::BYTES_MAX];
        bytes.get_mut(..text.len()).filter(|bytes| !bytes.is_empty())?.copy_from_slice(text.as_bytes());
        // At most BYTES_MAX.
        Some(Self { bytes, length: text.len() as u8 })
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.size()]
    }

    /// How many bytes it has.
    pub fn size(&self) -> usize {
        usize::from(self.length)
    }

    /// The character, if it is one.
    pub fn single(&self) -> Option<u8> {
        (self.length == 1).then_some(self.bytes[0])
    }

    /// Where the first one stands.
    pub fn find(&self, text: &[u8]) -> Option<usize> {
        match self.single() {
            Some(byte) => memchr(byte, text),
            None => memmem::find(text, self.as_bytes()),
        }
    }

    /// Where the last one stands; `text` begins with a row. One that can overlap itself, such as `||`, is looked for from there.
    pub fn find_last(&self, text: &[u8]) -> Option<usize> {
        match self.single() {
            Some(byte) => memrchr(byte, text),
            None => memmem::find_iter(text, self.as_bytes()).last(),
        }
    }
}

impl fmt::Debug for RowEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.as_bytes().escape_ascii())
    }
}
