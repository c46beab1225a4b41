//! The bag beside plain maps, in all its forms.

use std::collections::BTreeMap;

use gridhouse_base::random::Random;

use super::*;

type Plain = BTreeMap<Vec<u8>, Weight>;

fn held(bag: &Bag, slot: Slot) -> Vec<(Vec<u8>, Weight)> {
    bag.set(slot).iter().map(|(row, weight)| (row.to_vec(), weight)).collect()
}

#[test]
fn every_form_agrees_with_a_plain_map() {
    for seed in 0..90 {
        let mut random = Random::new(seed);
        let counts_matches = seed % 2 == 0;
        let mut bag = Bag::new(counts_matches);
        let mut plain: [Plain; 3] = Default::default();
        bag.resize(3);
        let range = [2, 20, 200][(seed % 3) as usize];
        let row = |number: u64| format!("{number:03}{}", "x".repeat(number as usize % 40)).into_bytes();
        for round in 0..3_000 {
            let slot = random.below(3) as Slot;
            let plain_set = &mut plain[slot as usize];
            let dry = round / 300 % 2 == 1;
            match random.below(20) {
                0 if counts_matches => bag.for_each_match(slot, |row, weight, matches| {
                    let held = plain_set.get_mut(row).unwrap();
                    assert_eq!((held.weight, held.matches), (weight, *matches), "seed {seed}, round {round}");
                    *matches += weight;
                    held.matches += weight;
                }),
                1 if dry => {
                    let bound = row(random.below(range));
                    bag.drop_below(slot, &bound);
                    *plain_set = plain_set.split_off(&bound);
                }
                2 if dry => {
                    bag.pop_last(slot);
                    plain_set.pop_last();
                }
                _ => {
                    // Now and then the sets run dry, so that trees become blocks again.
                    let first = plain_set.iter().next().map(|(row, held)| (row.clone(), -held.weight));
                    let drawn = (row(random.below(range)), random.between(-2, 2));
                    let (row, weight) = first.filter(|_| dry).unwrap_or(drawn);
                    let given = random.between(0, 5);
                    let matches = if counts_matches { given } else { 0 };
                    let before = plain_set.get(&row).map_or(0, |held| held.weight);
                    let change = bag.add(slot, &row, weight, given);
                    assert_eq!(change, (before, before + weight), "seed {seed}, round {round}");
                    plain_set.entry(row).or_insert(Weight { weight: 0, matches }).weight += weight;
                    plain_set.retain(|_, held| held.weight != 0);
                }
            }
            if round % 7 == 0 {
                for (slot, plain) in plain.iter().enumerate() {
                    let set = bag.set(slot as Slot);
                    let expected: Vec<_> = plain.iter().map(|(row, &weight)| (row.clone(), weight)).collect();
                    assert_eq!(held(&bag, slot as Slot), expected, "seed {seed}, round {round}");
                    let mut positive = plain.iter().filter(|(_, held)| held.weight > 0).map(|(row, _)| &row[..]);
                    assert_eq!(set.first(), positive.clone().next(), "seed {seed}, round {round}");
                    assert_eq!(set.last(), positive.next_back(), "seed {seed}, round {round}");
                    assert_eq!(set.is_empty(), plain.is_empty(), "seed {seed}, round {round}");
                }
                let rows = plain.iter().map(BTreeMap::len).sum::<usize>();
                assert_eq!(bag.rows(), rows, "seed {seed}, round {round}");
            }
        }
        for slot in 0..3 {
            while !bag.set(slot).is_empty() {
                bag.pop_last(slot);
            }
        }
        let forms = (bag.blocks.in_use(), bag.rows_in_trees, bag.tree_bytes, bag.slab.bytes());
        assert_eq!((forms, bag.rows()), ((0, 0, 0, 0), 0), "seed {seed}: nothing is left");
    }
}

#[test]
fn weights_may_be_absurd() {
    let mut bag = Bag::new(false);
    bag.resize(1);
    for weight in [i64::from(i32::MAX), i64::MAX - i64::from(i32::MAX), -i64::MAX + 1] {
        bag.add(0, b"row", weight, 0);
    }
    assert_eq!(held(&bag, 0), [(b"row".to_vec(), Weight { weight: 1, matches: 0 })]);
    assert_eq!(bag.add(0, b"row", -1, 0), (1, 0));
    assert!(bag.set(0).is_empty());
}

#[test]
fn memory_follows_what_is_held() {
    for counts_matches in [false, true] {
        let mut bag = Bag::new(counts_matches);
        let row =
            |number: u32, round: u32| format!("{number} {}", "x".repeat((number * 7 + round * 31) as usize % 300));
        let slots = 3_000;
        bag.resize(slots as usize);
        let mut plain = vec![Plain::new(); slots as usize];
        for round in 0..40 {
            // Sizes change with every round, and from the middle on there are fewer and fewer rows.
            let upto = if round < 20 { slots } else { slots / (round - 18) };
            for slot in 0..slots {
                let set = &mut plain[slot as usize];
                for (row, held) in std::mem::take(set) {
                    bag.add(slot, &row, -held.weight, 0);
                }
                for number in (0..slot % 3).filter(|_| slot < upto) {
                    let row = row(slot + number, round).into_bytes();
                    let matches = if counts_matches { i64::from(number) } else { 0 };
                    bag.add(slot, &row, 1, matches);
                    set.insert(row, Weight { weight: 1, matches });
                }
            }
            bag.room_for(0, 0).unwrap();
            let used: usize = plain.iter().flat_map(Plain::keys).map(|row| row.len() + 24).sum();
            assert!(bag.slab.bytes() <= 2 * used + 64 * 1024, "{} bytes for {used} in round {round}", bag.slab.bytes());
            for slot in 0..slots {
                let expected: Vec<_> =
                    plain[slot as usize].iter().map(|(row, &weight)| (row.clone(), weight)).collect();
                assert_eq!(held(&bag, slot), expected, "slot {slot}, round {round}");
            }
        }
    }
}
