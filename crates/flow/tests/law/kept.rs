//! States that are kept again and again: whatever happened between, the spans that are named hold the plain state to the letter,
//! and a dataflow that is thawed from them goes on like the one that was kept.

use std::sync::Arc;

use gridhouse_base::ErrorKind;
use gridhouse_base::random::Random;
use gridhouse_flow::{Dataflow, DataflowBuilder, Earlier, FilePlaces, Frozen, Governor, KeptState, KeptWriter};

use crate::check::{multiset, tick, written};
use crate::draw::rows;
use crate::frozen::{Feed, Variant, everything_in};
use crate::memory::starved;

/// Files by number, and the state that was kept last.
#[derive(Default)]
pub struct Keeping {
    files: Vec<Vec<u8>>,
    pub last: KeptState,
}

impl Keeping {
    /// Keeps a state beside the last one.
    pub fn keep(&mut self, frozen: &Frozen) {
        let mut file = Vec::new();
        let kept = {
            let all = |number: u64| self.files.get(number as usize).map(|file| &file[..]);
            let earlier = Earlier::of(&self.last.spans, &all, &|number| number % 4 != 3).unwrap();
            frozen.keep(KeptWriter::new(earlier, &self.last.files, &mut file, (self.files.len() as u64, 0))).unwrap()
        };
        self.files.push(file);
        self.last = kept;
    }

    /// The bytes of the last state, in parts.
    pub fn parts(&self) -> Vec<&[u8]> {
        self.last.spans.iter().map(|s| &self.files[s.file as usize][s.at as usize..(s.at + s.len) as usize]).collect()
    }

    /// As a restart finds it: files of spilled state have other numbers.
    pub fn restart(&mut self) {
        self.last.files = FilePlaces::new();
    }
}

fn built(governor: Option<&Arc<Governor>>) -> Dataflow {
    let builder = DataflowBuilder::new(7);
    let builder = match governor {
        Some(governor) => builder.governor(governor.clone()),
        None => builder,
    };
    everything_in(builder, Variant::default())
}

fn relieve(flow: &mut Dataflow, governor: Option<&Arc<Governor>>) {
    if governor.is_some_and(|governor| governor.choose()) {
        flow.relieve().unwrap();
    }
}

#[test]
fn a_state_that_is_kept_in_spans_is_the_plain_one_and_goes_on() {
    for seed in 0..10 {
        let governor = (seed % 2 == 1).then(|| starved(3));
        let governor = governor.as_ref();
        let (mut feed, mut random, mut keeping) = (Feed::new(seed), Random::new(seed), Keeping::default());
        let mut flow = built(governor);
        for round in 0..12 {
            match random.below(8) {
                0 => feed.clear(&mut [&mut flow]),
                1 => {}
                changes => feed.tick(&mut [&mut flow], changes * changes * 4),
            }
            flow.finish_tick(&tick()).unwrap();
            flow.take_errors();
            relieve(&mut flow, governor);
            let frozen = flow.freeze().unwrap();
            keeping.keep(&frozen);
            let plain = written(&frozen);
            assert!(keeping.parts().concat() == plain, "seed {seed}, round {round}");
            assert_eq!(keeping.last.len, plain.len() as u64);
            let version = frozen.version();
            assert_eq!(flow.freeze().unwrap().version(), version);
            // Kept once more, nearly nothing is written, but what stands in files that shall go.
            keeping.keep(&frozen);
            keeping.keep(&frozen);
            assert!(keeping.parts().concat() == plain, "seed {seed}, round {round}");
            if (keeping.files.len() - 2) % 4 != 3 {
                let most = plain.len() as u64 / 10 + 500;
                assert!(keeping.last.written < most, "seed {seed}, round {round}: {}", keeping.last.written);
            }
            if random.chance(0.3) {
                let mut twin = built(governor);
                twin.thaw_parts(&keeping.parts()).unwrap_or_else(|e| panic!("seed {seed}, round {round}: {e}"));
                feed.tick(&mut [&mut flow, &mut twin], 30);
                let (one, other) = (flow.finish_tick(&tick()).unwrap(), twin.finish_tick(&tick()).unwrap());
                assert_ne!(flow.freeze().map(|f| f.version()).ok(), Some(version), "a tick makes another version");
                for (output, (one, other)) in one.iter().zip(&other).enumerate() {
                    let set = |out: &[_]| multiset(out.iter().flat_map(|b| rows(b, flow.output_schema(output))));
                    assert_eq!(set(one), set(other), "seed {seed}, round {round}, output {output}");
                }
                twin.take_errors();
                flow = twin;
                keeping.restart();
            }
        }
    }
}

/// What is named wrongly is found out.
#[test]
fn spans_that_are_damaged_are_told() {
    let (mut feed, mut keeping) = (Feed::new(1), Keeping::default());
    let mut flow = built(None);
    for changes in [400, 6, 6] {
        feed.tick(&mut [&mut flow], changes);
        flow.finish_tick(&tick()).unwrap();
        flow.take_errors();
        keeping.keep(&flow.freeze().unwrap());
    }
    let parts = keeping.parts();
    built(None).thaw_parts(&parts).unwrap();
    assert!(parts.len() > 10, "{} spans", parts.len());
    let mut random = Random::new(2);
    for _ in 0..300 {
        let mut bad = parts.clone();
        let at = random.below(bad.len() as u64) as usize;
        match random.below(4) {
            0 => drop(bad.remove(at)),
            1 => bad.insert(at, bad[at]),
            2 => bad[at] = &bad[at][1..],
            _ => bad.swap(at, 0),
        }
        if bad.concat() != parts.concat() {
            let kind = built(None).thaw_parts(&bad).unwrap_err().kind();
            assert!(matches!(kind, ErrorKind::Corrupt | ErrorKind::Conflict), "{kind}");
        }
    }
}
