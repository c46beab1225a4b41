//! Messages cut out of a byte stream, with a bound on each.
//!
//! The length in a message's head is not believed: it must lie within the limits below, and memory grows only with bytes
//! that have arrived, over all connections together up to a limit too. Whatever arrives is an error at worst, never a panic.

use std::io::{self, Read};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A script of this size is a mistake or an attack; the largest pipelines that people write have some hundred kilobytes.
pub(crate) const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// PostgreSQL's own limit on what a client sends before it is known (`MAX_STARTUP_PACKET_LENGTH`).
pub(crate) const MAX_STARTUP_BYTES: usize = 10_000;

/// Bytes of messages that connections hold together at most: four of the largest scripts at once.
pub(crate) const MAX_HELD_BYTES: usize = 4 * MAX_MESSAGE_BYTES;

/// So many bytes are asked for at once.
const STEP_BYTES: usize = 64 << 10;

/// The bytes of messages that the connections of a server hold.
#[derive(Debug, Default)]
pub(crate) struct Held(AtomicUsize);

/// What one message holds of them, until it is dropped.
pub(crate) struct Share<'a> {
    of: &'a Held,
    bytes: usize,
}

impl Held {
    pub(crate) fn share(&self) -> Share<'_> {
        Share { of: self, bytes: 0 }
    }
}

impl Share<'_> {
    fn grow(&mut self, bytes: usize) -> io::Result<()> {
        let before = self.of.0.fetch_add(bytes, Ordering::SeqCst);
        self.bytes += bytes;
        if before + bytes <= MAX_HELD_BYTES {
            return Ok(());
        }
        let message = format!("the connections hold {MAX_HELD_BYTES} bytes of statements, which is the most");
        Err(io::Error::new(io::ErrorKind::InvalidData, message))
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.of.0.fetch_sub(self.bytes, Ordering::SeqCst);
    }
}

/// A message with its type byte.
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) body: Vec<u8>,
}

/// Reads one message; `None` where the other side ended the stream between two messages.
pub(crate) fn read(from: &mut impl Read, limit: usize) -> io::Result<Option<Frame>> {
    let Some(kind) = read_kind(from)? else { return Ok(None) };
    let body = read_body(from, limit, &mut Held::default().share())?;
    Ok(Some(Frame { kind, body }))
}

/// Reads the type byte of a message; `None` where the other side ended the stream.
pub(crate) fn read_kind(from: &mut impl Read) -> io::Result<Option<u8>> {
    let mut kind = [0];
    loop {
        match from.read(&mut kind) {
            Ok(0) => return Ok(None),
            Ok(_) => return Ok(Some(kind[0])),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether `arrived`, which begins with a length, holds all that the length announces.
pub(crate) fn is_whole(arrived: &[u8]) -> bool {
    number_at(arrived, 0).is_some_and(|length| usize::try_from(length).is_ok_and(|length| arrived.len() >= length))
}

/// Reads a length and the body that it announces; what is held of it is counted in `share`.
pub(crate) fn read_body(from: &mut impl Read, limit: usize, share: &mut Share<'_>) -> io::Result<Vec<u8>> {
    let mut head = [0; 4];
    from.read_exact(&mut head)?;
    let announced = u32::from_be_bytes(head) as usize;
    if announced < 4 || announced > limit {
        let message = format!("a message announces {announced} bytes, which is not between 4 and {limit}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    let wanted = announced - 4;
    let mut body = Vec::with_capacity(wanted.min(STEP_BYTES));
    while body.len() < wanted {
        let step = (wanted - body.len()).min(STEP_BYTES);
        share.grow(step)?;
        if from.take(step as u64).read_to_end(&mut body)? < step {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(body)
}

/// The four bytes at `offset` as a number.
pub(crate) fn number_at(body: &[u8], offset: usize) -> Option<i32> {
    let bytes = body.get(offset..offset + 4)?;
    Some(i32::from_be_bytes(bytes.try_into().ok()?))
}

/// The text up to the first zero byte, and what follows it.
pub(crate) fn text(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = body.iter().position(|&byte| byte == 0)?;
    Some((&body[..end], &body[end + 1..]))
}

/// `name` without zero bytes, which would end it on the wire.
pub(crate) fn without_zero(name: &str) -> String {
    name.replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_out_of_bounds_are_refused_before_memory_is_taken() {
        for head in [0_u32, 3, u32::MAX, MAX_MESSAGE_BYTES as u32 + 1] {
            let mut bytes = vec![b'Q'];
            bytes.extend(head.to_be_bytes());
            let error = read(&mut bytes.as_slice(), MAX_MESSAGE_BYTES).map(|_| ()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{head}");
        }
        let mut cut: Vec<u8> = vec![b'Q', 0, 0, 1, 0, b'x'];
        let error = read(&mut cut.as_slice(), MAX_MESSAGE_BYTES).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        cut.clear();
        assert!(read(&mut cut.as_slice(), MAX_MESSAGE_BYTES).unwrap().is_none());
    }
    #[test]
    fn what_connections_hold_together_is_bounded() {
        let held = Held::default();
        let mut shares: Vec<Share<'_>> = (0..4).map(|_| held.share()).collect();
        for share in &mut shares {
            share.grow(MAX_MESSAGE_BYTES).unwrap();
        }
        let message = [5_u32.to_be_bytes().as_slice(), b"x"].concat();
        let error = read_body(&mut message.as_slice(), MAX_MESSAGE_BYTES, &mut held.share()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        shares.pop();
        assert_eq!(read_body(&mut message.as_slice(), MAX_MESSAGE_BYTES, &mut held.share()).unwrap(), b"x");
        drop(shares);
        assert_eq!(held.0.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn whole_messages_are_told_from_others() {
        assert!(is_whole(&[0, 0, 0, 5, b'x', b'y']) && is_whole(&[0, 0, 0, 4]));
        assert!(!is_whole(&[0, 0, 0, 6, b'x']) && !is_whole(&[0, 0, 0]) && !is_whole(&[0xff; 8]));
    }
}
