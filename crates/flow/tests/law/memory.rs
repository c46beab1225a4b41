//! State that does not fit into its memory: files in memory, and a governor that never has enough.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use gridhouse_base::fs::{File, FileSystem, Lock};
use gridhouse_base::random::Random;
use gridhouse_base::{TypeKind, Value};
use gridhouse_expr::{AggregateCall, AggregateFunction};
use gridhouse_flow::{Dataflow, DataflowBuilder, Governor, JoinKind, JoinSpec};

use crate::check::{frozen, multiset, tick, written};
use crate::draw::{batch, rows, schema};
use crate::kept::Keeping;

/// Files in memory, as far as spilled state needs them.
#[derive(Clone, Default)]
pub struct Memory {
    files: Arc<Mutex<BTreeMap<PathBuf, Content>>>,
    /// Whether nothing can be written any more.
    full: Arc<Mutex<bool>>,
}

type Content = Arc<Mutex<Vec<u8>>>;

struct MemoryFile(Content);

impl File for MemoryFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = self.0.lock().unwrap();
        let end = offset as usize + buffer.len();
        buffer.copy_from_slice(bytes.get(offset as usize..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_all_at(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        let mut bytes = self.0.lock().unwrap();
        let end = offset as usize + buffer.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[offset as usize..end].copy_from_slice(buffer);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }

    fn allocate(&self, _len: u64) -> io::Result<()> {
        Ok(())
    }

    fn map(&self) -> io::Result<bytes::Bytes> {
        Ok(self.0.lock().unwrap().clone().into())
    }
}

impl FileSystem for Memory {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let files = self.files.lock().unwrap();
        Ok(Arc::new(MemoryFile(files.get(path).ok_or(io::ErrorKind::NotFound)?.clone())))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        if *self.full.lock().unwrap() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = Content::default();
        assert!(self.files.lock().unwrap().insert(path.into(), file.clone()).is_none(), "{path:?} is there already");
        Ok(Arc::new(MemoryFile(file)))
    }

    fn create_dir_all(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let files = self.files.lock().unwrap();
        let inside = files.keys().filter(|file| file.parent() == Some(path));
        Ok(inside.filter_map(|file| file.file_name().map(PathBuf::from)).collect())
    }

    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.files.lock().unwrap().remove(path).map(|_| ()).ok_or(io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, _path: &Path) -> io::Result<Box<dyn Lock>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A governor that never has enough memory and cuts operators of any size.
pub fn starved(parts: u32) -> Arc<Governor> {
    Governor::cut_into(Arc::new(Memory::default()), Path::new("/spill"), 0, parts, 1).unwrap()
}

/// Counts per key, joined with themselves.
fn flow(governor: Option<Arc<Governor>>) -> Dataflow {
    let mut builder = DataflowBuilder::new(1);
    if let Some(governor) = governor {
        builder = builder.governor(governor);
    }
    let kinds = [TypeKind::BigInt, TypeKind::STRING];
    let input = builder.input(schema(&kinds));
    let (function, sql_type) = (AggregateFunction::Max, TypeKind::STRING.nullable());
    let call = AggregateCall { function, args: vec![1], distinct: false, filter: None, sql_type };
    let groups = builder.aggregate(input, vec![0], vec![call]).unwrap();
    let joined = builder.join(input, groups, JoinSpec::on(JoinKind::Left, &[(0, 0)])).unwrap();
    builder.output(joined);
    builder.build()
}

fn change(flow: &mut Dataflow, from: i64, upto: i64, weight: i32) -> Vec<(Vec<Value>, i64)> {
    let row = |i: i64| (vec![Value::Integer(i % 5_000), Value::Text(format!("reading {i}").into())], weight);
    flow.push(0, batch(&(from..upto).map(row).collect::<Vec<_>>(), &[TypeKind::BigInt, TypeKind::STRING])).unwrap();
    let out = flow.finish_tick(&tick()).unwrap();
    out[0].iter().flat_map(|batch| rows(batch, flow.output_schema(0))).collect()
}

#[test]
fn state_stays_within_its_budget_and_files_go_with_it() {
    const BUDGET: usize = 400_000;
    let files = Memory::default();
    let dir = Path::new("/spill");
    drop(files.create(&dir.join("left behind")).unwrap());
    let governor = Governor::cut_into(Arc::new(files.clone()), dir, BUDGET, 64, 10_000).unwrap();
    assert!(files.files.lock().unwrap().is_empty(), "what an earlier run left behind is removed");
    let (mut plain, mut small) = (flow(None), flow(Some(governor.clone())));
    let mut most = 0;
    for step in 0..40 {
        let (from, upto) = (step * 500, (step + 1) * 500);
        assert_eq!(multiset(change(&mut plain, from, upto, 1)), multiset(change(&mut small, from, upto, 1)));
        if governor.choose() {
            small.relieve().unwrap();
        }
        most = most.max(governor.used_bytes());
    }
    let whole = plain.state_bytes();
    assert!(whole > 4 * BUDGET, "the state has {whole} bytes");
    assert!(most <= BUDGET + BUDGET / 10, "{most} bytes were held");
    assert!(governor.spilled_bytes() > 0 && governor.spilled_bytes() == small.spilled_bytes());
    // A state that does not fit into memory is frozen and thawed without being brought into it.
    let bytes = frozen(&mut small);
    let mut twin = flow(Some(governor.clone()));
    twin.thaw(&bytes).unwrap();
    assert!(governor.used_bytes() <= BUDGET + BUDGET / 10);
    let gone = multiset(change(&mut plain, 0, 20_000, -1));
    assert_eq!(gone, multiset(change(&mut small, 0, 20_000, -1)));
    assert_eq!(gone, multiset(change(&mut twin, 0, 20_000, -1)));
    assert_eq!(small.stats().iter().map(|node| node.state.rows).sum::<usize>(), 0);
    drop((small, twin));
    assert_eq!((governor.used_bytes(), governor.spilled_bytes()), (0, 0));
    assert!(files.files.lock().unwrap().is_empty(), "a file outlives its state");
}

/// What lies in files is kept again by its place, without being read.
#[test]
fn spilled_state_that_did_not_change_is_kept_without_being_read() {
    let files = Memory::default();
    let governor = Governor::cut_into(Arc::new(files.clone()), Path::new("/spill"), 0, 16, 1).unwrap();
    let mut small = flow(Some(governor.clone()));
    change(&mut small, 0, 3_000, 1);
    assert!(governor.choose() || governor.used_bytes() == 0);
    small.relieve().unwrap();
    let mut keeping = Keeping::default();
    keeping.keep(&small.freeze().unwrap());
    let plain = written(&small.freeze().unwrap());
    assert!(keeping.parts().concat() == plain && keeping.last.files.len() >= 16);
    // Few keys, so few partitions.
    change(&mut small, 0, 2, 1);
    let frozen = small.freeze().unwrap();
    let plain = written(&frozen);
    let damage = || files.files.lock().unwrap().values().for_each(|file| file.lock().unwrap()[30] ^= 1);
    let known = keeping.last.files.clone();
    damage();
    keeping.keep(&frozen);
    damage();
    let same = keeping.last.files.keys().filter(|number| known.contains_key(number)).count();
    assert!(same >= 24, "{same} files were not touched");
    assert!(keeping.last.written < plain.len() as u64 / 4, "{} of {}", keeping.last.written, plain.len());
    // Only the files that are new were read, with the damage.
    let differ = keeping.parts().concat().iter().zip(&plain).filter(|(one, other)| one != other).count();
    let fresh = keeping.last.files.len() - same;
    assert!(keeping.last.len == plain.len() as u64 && differ == fresh, "{differ} bytes of {fresh} files");
}

#[test]
fn what_cannot_be_written_out_is_still_held_and_damage_is_told() {
    let files = Memory::default();
    let governor = Governor::cut_into(Arc::new(files.clone()), Path::new("/spill"), 0, 4, 1).unwrap();
    let (mut plain, mut small) = (flow(None), flow(Some(governor.clone())));
    change(&mut plain, 0, 1_000, 1);
    change(&mut small, 0, 1_000, 1);
    *files.full.lock().unwrap() = true;
    assert!(governor.choose());
    assert!(small.relieve().is_err());
    assert_eq!(multiset(change(&mut plain, 500, 2_000, 1)), multiset(change(&mut small, 500, 2_000, 1)));
    *files.full.lock().unwrap() = false;
    assert!(governor.choose());
    small.relieve().unwrap();
    assert!(governor.spilled_bytes() > 0);
    let mut random = Random::new(3);
    for bytes in files.files.lock().unwrap().values() {
        let mut bytes = bytes.lock().unwrap();
        let at = random.below(bytes.len() as u64) as usize;
        bytes[at] ^= 4;
    }
    small.push(0, batch(&[(vec![Value::Integer(1), Value::Null], 1)], &[TypeKind::BigInt, TypeKind::STRING])).unwrap();
    let kind = small.finish_tick(&tick()).unwrap_err().kind();
    assert!(matches!(kind, gridhouse_base::ErrorKind::Corrupt | gridhouse_base::ErrorKind::Conflict), "{kind}");
}
