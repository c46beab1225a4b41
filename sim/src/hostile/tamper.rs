//! What somebody may do to the files of a data directory.

use std::path::PathBuf;

use gridhouse_base::random::Random;

use super::forge::forge;
use crate::file_system::SimFileSystem;

/// Bytes that counts, lengths and kinds are replaced by.
const EXTREMES: [u8; 6] = [0, 1, 2, 0x7f, 0x80, 0xff];

/// Tampers with one file of the disk or two, and tells with which.
pub(super) fn tamper_some(fs: &SimFileSystem, random: &mut Random) -> Vec<(PathBuf, bool)> {
    let mut tampered = Vec::new();
    for _ in 0..1 + u64::from(random.chance(0.2)) {
        let files: Vec<PathBuf> = fs.files().into_iter().filter(|(_, len)| *len > 0).map(|(path, _)| path).collect();
        let path = random.pick(&files).clone();
        let mut bytes = fs.bytes_of(&path);
        match random.below(20) {
            0 => bytes = noise(random),
            1 => bytes = fs.bytes_of(&random.pick(&files).clone()),
            _ => (0..=random.below(3)).for_each(|_| tamper(&mut bytes, random)),
        }
        let is_forged = random.chance(0.8);
        if is_forged {
            forge(&path, &mut bytes, random.chance(0.7));
        }
        fs.replace(&path, bytes);
        tampered.push((path, is_forged));
    }
    tampered
}

fn noise(random: &mut Random) -> Vec<u8> {
    let length = *random.pick(&[0, 1, 24, 63, 64, 104, 1000, 9000]);
    (0..length).map(|_| random.bits() as u8).collect()
}

fn tamper(bytes: &mut Vec<u8>, random: &mut Random) {
    // What a log file has reserved is zeros; most attacks are on what stands before.
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(bytes.len(), |last| last + 1);
    if used == 0 {
        bytes.extend(noise(random));
        return;
    }
    let at = random.below(used as u64) as usize;
    let upto = (at + 1 + random.below(16) as usize).min(bytes.len());
    match random.below(9) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = *random.pick(&EXTREMES),
        2 => bytes[at] = bytes[at].wrapping_add(1),
        3 => bytes[at] = bytes[at].wrapping_sub(1),
        4 => bytes[at..upto].fill(*random.pick(&EXTREMES)),
        5 => bytes.truncate(at),
        6 => drop(bytes.drain(at..upto)),
        7 => {
            let more: Vec<u8> = (at..upto).map(|_| random.bits() as u8).collect();
            bytes.splice(at..at, more);
        }
        _ => {
            let from = random.below(used as u64) as usize;
            let length = (upto - at).min(bytes.len() - from);
            let to = at.min(bytes.len() - length);
            bytes.copy_within(from..from + length, to);
        }
    }
}
