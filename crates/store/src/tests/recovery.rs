//! What a restart finds, and when it refuses.

use std::os::unix::fs::FileExt;

use gridhouse_base::random::Random;
use gridhouse_base::{CommitId, ErrorKind, RowKind};

use super::*;
use crate::replay::Replay;
use crate::state::State;
use crate::wal::frame::{FRAME_HEAD_BYTES, FrameHead, read_frame};
use crate::wal::place::FramePlace;

fn wal(dir: &Path, number: u32) -> std::path::PathBuf {
    dir.join(format!("wal-{number:010}"))
}

/// Where the frames of a log file begin.
fn frame_offsets(bytes: &[u8]) -> Vec<usize> {
    (64..bytes.len()).step_by(8).filter(|&at| bytes[at..].starts_with(b"GHFR")).collect()
}

/// Ends as a kill would after a quiet moment: everything is durable, and the log says so.
fn leave(mut store: Store) {
    store.sync().unwrap();
    store.note_idle().unwrap();
    store.sync().unwrap();
}

#[test]
fn everything_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let store_id = store.id();
    let t = create(&mut store, keyed("t"));
    let e = create(&mut store, log_table("e"));
    for i in 0..50 {
        store.append_source(commit(i as u8, vec![part(t, &[(RowKind::Insert, (i, "s", Some(i)))])])).unwrap();
        let mut tick = store.tick().unwrap();
        tick.apply_pending().unwrap();
        tick.write(e, &change(&[(1, (i, "e", None))])).unwrap();
        tick.put("jobs", &format!("{}", i % 5), (i % 5 != 0).then_some("{\"state\":\"running\"}"));
        tick.set_cursor("sink", t, CommitId(2)).unwrap();
        tick.publish().unwrap();
    }
    store.append_source(commit(77, vec![part(t, &[(RowKind::Delete, (3, "", None))])])).unwrap();
    let before = store.ordered_snapshot();
    store.close().unwrap();

    let mut store = open(dir.path());
    assert_eq!(store.id(), store_id);
    assert_eq!(store.source_position(SourceId(1)).unwrap().position, [77]);
    let after = store.ordered_snapshot();
    assert_eq!((after.commit(), after.as_of()), (before.commit(), before.as_of()));
    for id in [t, e] {
        assert_eq!(live(&after.table(id).unwrap()), live(&before.table(id).unwrap()));
        assert_eq!(after.table(id).unwrap().spec(), before.table(id).unwrap().spec());
    }
    assert_eq!(log(&after.table(t).unwrap(), 2), log(&before.table(t).unwrap(), 2), "row ids and log are the same");
    assert_eq!(after.list("jobs"), before.list("jobs"));
    assert_eq!(after.list("jobs").len(), 4);
    assert_eq!(after.cursor("sink", t), Some(CommitId(2)));
    assert_eq!(store.pending_count(), 1);
    let mut tick = store.tick().unwrap();
    assert_eq!(shown(&tick.apply_pending().unwrap()[0].1), ["-1 3 s 3"]);
    let next = tick.create_table(keyed("u")).unwrap();
    assert!(next > e, "table ids are not used again");
}

#[test]
fn a_torn_end_is_cut_and_the_log_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let id = create(&mut store, keyed("t"));
    store.sync().unwrap();
    for i in 0..3 {
        let mut tick = store.tick().unwrap();
        tick.write(id, &change(&[(1, (i, "x", None))])).unwrap();
        tick.publish().unwrap();
    }
    drop(store);
    let bytes = std::fs::read(wal(dir.path(), 1)).unwrap();
    let offsets = frame_offsets(&bytes);
    assert_eq!(offsets.len(), 4);
    // The second of three unsynced frames is torn; nothing proves it, so it and the third are gone.
    let file = std::fs::OpenOptions::new().write(true).open(wal(dir.path(), 1)).unwrap();
    file.write_all_at(&[0; 16], offsets[2] as u64 + 80).unwrap();
    let mut store = open(dir.path());
    assert_eq!(live(&store.ordered_snapshot().table(id).unwrap()), ["+1 0 x NULL"]);
    let mut tick = store.tick().unwrap();
    tick.write(id, &change(&[(1, (10, "y", None))])).unwrap();
    tick.publish().unwrap();
    store.close().unwrap();
    let store = open(dir.path());
    assert_eq!(live(&store.ordered_snapshot().table(id).unwrap()), ["+1 0 x NULL", "+1 10 y NULL"]);
}

#[test]
fn the_log_is_checked_while_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(StoreOptions { wal_file_bytes: 4096, ..options(dir.path()) }).unwrap();
    let id = create(&mut store, keyed("t"));
    let write = |store: &mut Store, rows: std::ops::Range<i64>| {
        for i in rows {
            let mut tick = store.tick().unwrap();
            tick.write(id, &change(&[(1, (i, "a text that fills the log's files", None))])).unwrap();
            tick.publish().unwrap();
        }
    };
    write(&mut store, 0..100);
    store.sync().unwrap();
    let sound = |span: &crate::LogSpan| {
        let parts = span.check().unwrap();
        assert!(parts.iter().all(|part| part.fault.is_none() && part.bytes > 0), "{parts:?}");
        parts.iter().map(|part| part.rows).sum::<u64>()
    };
    let span = store.log_span().unwrap();
    assert_eq!(sound(&span), 101, "a frame for the table, and one for each tick");
    assert!(span.files.len() > 1, "the log has more than one file");
    // What is not durable yet is not asked for; what is removed meanwhile is still read.
    write(&mut store, 100..110);
    assert_eq!(sound(&store.log_span().unwrap()), 101);
    store.checkpoint(&mut || None).unwrap();
    assert!(!wal(dir.path(), 1).exists());
    assert_eq!(sound(&span), 101);
    assert_eq!(sound(&store.log_span().unwrap()), 0, "a restart would read nothing");
    write(&mut store, 110..200);
    store.sync().unwrap();
    assert_eq!(sound(&store.log_span().unwrap()), 90);
    // Any bit that is not as it was written is told with its file and frame.
    let span = store.log_span().unwrap();
    let files: Vec<_> = span.files.iter().map(|file| file.path.clone()).collect();
    for (i, path) in files.iter().enumerate() {
        let bytes = std::fs::read(path).unwrap();
        let offsets = frame_offsets(&bytes);
        let needed = |at: &usize| i > 0 || *at as u64 >= span.first.offset;
        let offsets: Vec<usize> = offsets.into_iter().filter(needed).collect();
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        for (place, offset) in offsets.iter().flat_map(|&at| [(at, 1), (at, 13), (at, 20), (at, 80)]).chain([(0, 20)]) {
            let at = place + offset;
            file.write_all_at(&[bytes[at] ^ 16], at as u64).unwrap();
            let parts = store.log_span().unwrap().check().unwrap();
            let fault = parts.last().unwrap().fault.clone().unwrap_or_else(|| panic!("{} at {at}", path.display()));
            let told = format!("{} at offset {place}: ", path.display());
            assert!(fault.starts_with(&told), "{fault}, not {told}");
            assert_eq!(parts.len(), i + 1, "what lies before is sound");
            file.write_all_at(&bytes[at..=at], at as u64).unwrap();
        }
    }
    assert_eq!(sound(&span), 90);
}

#[test]
fn damage_that_was_durable_is_refused_with_the_way_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let id = create(&mut store, keyed("t"));
    for i in 0..3 {
        let mut tick = store.tick().unwrap();
        tick.write(id, &change(&[(1, (i, "x", None))])).unwrap();
        tick.publish().unwrap();
    }
    leave(store);
    let path = wal(dir.path(), 1);
    let bytes = std::fs::read(&path).unwrap();
    let offsets = frame_offsets(&bytes);
    assert_eq!(offsets.len(), 5, "the last frame is the sync note of the clean stop");
    // Every frame but the note is proved by the note; a header is proved by the frames behind it.
    for (place, offset) in [(0, 20), (offsets[0], 30), (offsets[2], 90), (offsets[3], 0)] {
        let mut broken = bytes.clone();
        broken[place + offset] ^= 1;
        std::fs::write(&path, &broken).unwrap();
        let error = Store::open(options(dir.path())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{place}");
        assert!(error.message().contains(&format!("wal-0000000001 at offset {place}")), "{error}");
        assert!(error.remedy().unwrap().contains("truncate -s"), "{error}");
    }
    // The way back works.
    let mut broken = bytes.clone();
    broken[offsets[3]] ^= 1;
    broken.truncate(offsets[3]);
    std::fs::write(&path, &broken).unwrap();
    let store = open(dir.path());
    assert_eq!(live(&store.ordered_snapshot().table(id).unwrap()), ["+1 0 x NULL", "+1 1 x NULL"]);
    drop(store);
    // Now there is a second file, which proves all of the first.
    std::fs::write(&path, &bytes[..offsets[2]]).unwrap();
    assert_eq!(Store::open(options(dir.path())).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn a_missing_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let mut store = open(dir.path());
        let mut tick = store.tick().unwrap();
        tick.put("a", "b", Some(&format!("{:?}", tick.commit())));
        tick.publish().unwrap();
        leave(store);
    }
    std::fs::remove_file(wal(dir.path(), 2)).unwrap();
    let error = Store::open(options(dir.path())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[test]
fn large_ticks_are_written_in_pieces_and_files_grow() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let id = create(&mut store, keyed("t"));
    let long: &'static str = "a long name of a substation that fills the log quickly, again and again and again";
    let rows: Vec<(i32, Row)> = (0..100_000).map(|i| (1, (i, long, Some(i)))).collect();
    // Enough for two pieces, but then the tick is dropped.
    let mut tick = store.tick().unwrap();
    tick.write(id, &change(&rows)).unwrap();
    drop(tick);
    assert_eq!(store.ordered_snapshot().table(id).unwrap().row_count(), 0);
    let mut tick = store.tick().unwrap();
    let effect = tick.write(id, &change(&rows)).unwrap();
    assert_eq!(effect.len(), 100_000);
    let removed: Vec<(i32, Row)> = (0..70_000).map(|i| (-1, (i, long, Some(i)))).collect();
    tick.write(id, &change(&removed)).unwrap();
    tick.publish().unwrap();
    let before = store.ordered_snapshot().table(id).unwrap();
    store.close().unwrap();
    let files = std::fs::read_dir(dir.path()).unwrap().count() - 1;
    assert!(files >= 3, "{files} log files");
    let store = open(dir.path());
    let after = store.ordered_snapshot().table(id).unwrap();
    assert_eq!(after.row_count(), 30_000);
    assert_eq!(live(&after), live(&before));
    let ids = |table: &TableSnapshot| {
        let bucket = |b: &Arc<crate::bucket_view::BucketView>| {
            (b.next_seq, b.groups.iter().map(|group| group.first_seq).collect())
        };
        table.view.buckets.iter().map(bucket).collect::<Vec<(u64, Vec<u64>)>>()
    };
    assert_eq!(ids(&after), ids(&before));
}

/// A file that is read only.
struct BytesFile(Vec<u8>);

impl gridhouse_base::fs::File for BytesFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        let from = offset as usize;
        buffer.copy_from_slice(self.0.get(from..from + buffer.len()).ok_or(std::io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_all_at(&self, _: &[u8], _: u64) -> std::io::Result<()> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    fn sync_data(&self) -> std::io::Result<()> {
        Ok(())
    }

    fn len(&self) -> std::io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn allocate(&self, _: u64) -> std::io::Result<()> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    fn map(&self) -> std::io::Result<bytes::Bytes> {
        Ok(self.0.clone().into())
    }
}

/// A checksum guards against chance, not against a file that somebody made: replaying it is refused or works, without panic.
#[test]
fn hostile_frames_with_good_checksums_do_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let id = create(&mut store, keyed("t"));
    let log = create(&mut store, log_table("e"));
    store.stage(1, part(id, &[(RowKind::Insert, (1, "staged", Some(1)))])).unwrap();
    let parts = vec![part(id, &[(RowKind::Insert, (2, "a", None)), (RowKind::Delete, (3, "", None))])];
    let stages = vec![(1, crate::StageUse::Replace(id))];
    store.append_source(SourceCommit { stages, ..commit(1, parts) }).unwrap();
    let mut tick = store.tick().unwrap();
    tick.apply_pending().unwrap();
    tick.write(log, &change(&[(1, (1, "a long text in a log table", Some(7)))])).unwrap();
    tick.write(id, &change(&[(1, (4, "d", None)), (-1, (2, "a", None))])).unwrap();
    tick.put("jobs", "1", Some("{}"));
    tick.set_cursor("sink", id, CommitId(1)).unwrap();
    tick.publish().unwrap();
    drop(store);
    let bytes = std::fs::read(wal(dir.path(), 1)).unwrap();
    let salt = u64::from_le_bytes(bytes[32..40].try_into().unwrap());
    let frames: Vec<_> = frame_offsets(&bytes).into_iter().map(|at| read_frame(&bytes[at..], salt).unwrap()).collect();
    let fs: Arc<dyn gridhouse_base::fs::FileSystem> = Arc::new(DiskFileSystem);
    let mut random = Random::new(9);
    let mut refused = 0;
    for _ in 0..4000 {
        let target = random.below(frames.len() as u64) as usize;
        let mut state = State::new(&mut Random::new(1)).unwrap();
        let mut files = crate::maintenance::Files::new();
        let mut replay = Replay {
            state: &mut state,
            start: None,
            follow: None,
            pieces: Default::default(),
            files: &mut files,
            fs: &fs,
            dir: dir.path(),
            limits: &crate::Limits { tick_bytes: 200, ..crate::Limits::default() },
        };
        for (i, frame) in frames.iter().enumerate() {
            let mut payload = frame.payload.to_vec();
            if i == target {
                for _ in 0..=random.below(2) {
                    let at = random.below(payload.len() as u64) as usize;
                    payload[at] = if random.chance(0.5) { random.bits() as u8 } else { payload[at] ^ 1 };
                }
            }
            let hostile = FrameHead { ..frame.head }.encode(&payload);
            let place = FramePlace {
                bytes: FRAME_HEAD_BYTES + payload.len(),
                file: Arc::new(BytesFile(hostile.clone())),
                file_number: 1,
                offset: 0,
                salt,
                frame: frame.head.number,
            };
            if let Err(error) = replay.take(&read_frame(&hostile, salt).unwrap(), &place, 1) {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                refused += 1;
                break;
            }
        }
    }
    assert!(refused > 1000, "{refused} refused");
}
