//! Saved models: little-endian numbers behind a tag and a version.

use std::fmt::Display;

use datafusion::common::{DataFusionError, Result, exec_err};

/// Writes a saved model.
pub(super) struct Writer(Vec<u8>);

impl Writer {
    /// Starts with what kind of model it is, and the version of its format.
    pub(super) fn new(tag: [u8; 4], version: u16) -> Self {
        let mut writer = Self(tag.to_vec());
        writer.u16(version);
        writer
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn f32(&mut self, value: f32) {
        self.u32(value.to_bits());
    }

    pub(super) fn f64(&mut self, value: f64) {
        self.u64(value.to_bits());
    }

    /// A length and so many bytes.
    pub(super) fn bytes(&mut self, value: &[u8]) {
        self.u64(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Reads a saved model. Whatever the bytes, it returns errors and does not panic.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Fails unless the model is of this kind and version.
    pub(super) fn try_new(bytes: &'a [u8], tag: [u8; 4], version: u16) -> Result<Self> {
        let mut reader = Self(bytes);
        if reader.take::<4>()? != tag {
            return exec_err!("the saved state is not one of a {} model", String::from_utf8_lossy(&tag));
        }
        match reader.u16()? {
            found if found == version => Ok(reader),
            found => exec_err!("the saved model has format {found}, this version reads {version}"),
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let Some((first, rest)) = self.0.split_first_chunk() else { return Err(damaged("it ends too early")) };
        self.0 = rest;
        Ok(*first)
    }

    pub(super) fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.take()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.take()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.take()?))
    }

    /// A finite number.
    pub(super) fn f32(&mut self) -> Result<f32> {
        Some(f32::from_bits(self.u32()?)).filter(|value| value.is_finite()).ok_or_else(|| damaged("a number is not finite"))
    }

    /// A finite number.
    pub(super) fn f64(&mut self) -> Result<f64> {
        Some(f64::from_bits(self.u64()?)).filter(|value| value.is_finite()).ok_or_else(|| damaged("a number is not finite"))
    }

    /// A length and so many bytes.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = usize::try_from(self.u64()?).unwrap_or(usize::MAX);
        let (bytes, rest) = self.0.split_at_checked(length).ok_or_else(|| damaged("it ends too early"))?;
        self.0 = rest;
        Ok(bytes)
    }

    /// A length of at most `max`.
    pub(super) fn length(&mut self, max: usize) -> Result<usize> {
        let length = self.u32()? as usize;
        if length > max { Err(damaged("a length is out of range")) } else { Ok(length) }
    }

    /// Fails if the model was saved with another value.
    pub(super) fn expect(&mut self, name: &str, value: u64) -> Result<()> {
        expect(name, self.u64()?, value)
    }

    /// Fails if the model was saved with another value.
    pub(super) fn expect_f64(&mut self, name: &str, value: f64) -> Result<()> {
        expect(name, self.f64()?, value)
    }

    /// Fails if anything is left.
    pub(super) fn finish(self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(damaged("it goes on behind its end")) }
    }
}

fn expect<T: PartialEq + Display>(name: &str, found: T, value: T) -> Result<()> {
    if found == value { Ok(()) } else { exec_err!("the saved model has {name} {found}, this one has {value}") }
}

/// The error for bytes that no model wrote.
pub(super) fn damaged(why: &str) -> DataFusionError {
    DataFusionError::Execution(format!("the saved model is damaged: {why}"))
}
