//! The fuzzer's bytes as a row of choices; zeros when they run out.

/// What is left to choose from.
pub struct Choices<'a> {
    rest: &'a [u8],
}

impl<'a> Choices<'a> {
    /// All of an input.
    pub fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    /// A number from zero up to and without `end`, of at most two bytes' reach.
    pub fn below(&mut self, end: usize) -> usize {
        let wide = u16::from_le_bytes([self.byte(), self.byte()]);
        usize::from(wide) % end
    }

    /// A number that is small, or now and then close to the largest, where sums overflow.
    pub fn edgy(&mut self) -> u32 {
        match self.byte() {
            byte @ 0xf8.. => u32::MAX - u32::from(byte & 7),
            byte => u32::from(byte),
        }
    }

    /// The next bytes, `len` of them or what is left.
    pub fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        taken
    }
}
