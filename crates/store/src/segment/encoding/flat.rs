//! Texts rolled out one behind the other, as Arrow keeps them.

/// How many bytes are copied at once: as many as a register of any processor takes, so that short texts cost no call.
pub(super) const STEP: usize = 16;

/// Bytes that grow by short pieces. There is always room behind them, which the next piece goes over.
#[derive(Default)]
pub(super) struct Flat {
    bytes: Vec<u8>,
    used: usize,
}

impl Flat {
    /// Nothing, with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { bytes: vec![0; capacity + STEP], used: 0 }
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.used
    }

    /// Makes room for `more` bytes and a step behind them.
    #[inline]
    pub fn reserve(&mut self, more: usize) {
        let wanted = self.used + more + STEP;
        if wanted > self.bytes.len() {
            self.grow(wanted);
        }
    }

    #[cold]
    fn grow(&mut self, wanted: usize) {
        self.bytes.resize(wanted.next_power_of_two(), 0);
    }

    /// Appends the first `length` bytes of `word`; room for eight has been made.
    #[inline(always)]
    pub fn word(&mut self, word: &[u8; 8], length: usize) {
        self.bytes[self.used..self.used + 8].copy_from_slice(word);
        self.used += length;
    }

    /// Appends the first `length` bytes of `behind`; where enough follows them, whole steps are copied.
    #[inline(always)]
    pub fn piece(&mut self, behind: &[u8], length: usize) {
        self.reserve(length);
        let room = &mut self.bytes[self.used..];
        if length.next_multiple_of(STEP) <= behind.len() {
            let mut at = 0;
            while at < length {
                room[at..at + STEP].copy_from_slice(&behind[at..at + STEP]);
                at += STEP;
            }
        } else {
            room[..length].copy_from_slice(&behind[..length]);
        }
        self.used += length;
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.used]
    }

    /// The bytes alone.
    pub fn into_bytes(mut self) -> Vec<u8> {
        self.bytes.truncate(self.used);
        self.bytes
    }
}
