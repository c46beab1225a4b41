//! Messages cut out of a byte stream, with a bound on each.
//!
//! The length in a message's head is not believed: it must lie within the limits below, and memory grows only with bytes
//! that have arrived. Whatever arrives is an error at worst, never a panic.

use std::io::{self, Read};

/// A script of this size is a mistake or an attack; the largest pipelines that people write have some hundred kilobytes.
pub(crate) const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// PostgreSQL's own limit on what a client sends before it is known (`MAX_STARTUP_PACKET_LENGTH`).
pub(crate) const MAX_STARTUP_BYTES: usize = 10_000;

/// A message with its type byte.
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) body: Vec<u8>,
}

/// Reads one message; `None` where the other side ended the stream between two messages.
pub(crate) fn read(from: &mut impl Read, limit: usize) -> io::Result<Option<Frame>> {
    let mut kind = [0];
    loop {
        match from.read(&mut kind) {
            Ok(0) => return Ok(None),
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let body = read_body(from, limit)?;
    Ok(Some(Frame { kind: kind[0], body }))
}

/// Reads a length and the body that it announces.
pub(crate) fn read_body(from: &mut impl Read, limit: usize) -> io::Result<Vec<u8>> {
    let mut head = [0; 4];
    from.read_exact(&mut head)?;
    let announced = u32::from_be_bytes(head) as usize;
    if announced < 4 || announced > limit {
        let message = format!("a message announces {announced} bytes, which is not between 4 and {limit}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    let wanted = announced - 4;
    let mut body = Vec::new();
    from.take(wanted as u64).read_to_end(&mut body)?;
    if body.len() < wanted {
        return Err(io::ErrorKind::UnexpectedEof.into());
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
}
