//! Draws that are written down, so that what was drawn can be made smaller.
//!
//! A generator asks for numbers; the numbers that it got are its tape. The same tape gives the same thing again, and a tape with
//! parts cut out or made smaller gives a simpler one, since 0 always asks for the simplest. Beyond the end of a tape
//! everything is 0.

use gridhouse_base::random::Random;

/// A source of drawn numbers.
pub struct Draws {
    random: Option<Random>,
    tape: Vec<u32>,
    at: usize,
}

impl Draws {
    /// Fresh draws.
    pub fn new(seed: u64) -> Self {
        Self { random: Some(Random::new(seed)), tape: Vec::new(), at: 0 }
    }

    /// The draws of a tape.
    pub fn replay(tape: Vec<u32>) -> Self {
        Self { random: None, tape, at: 0 }
    }

    /// A number below `limit`, which is at least 1.
    pub fn below(&mut self, limit: u32) -> u32 {
        let drawn = match (self.tape.get(self.at), &mut self.random) {
            (Some(number), _) => number % limit,
            (None, Some(random)) => random.below(u64::from(limit)) as u32,
            (None, None) => 0,
        };
        if self.at < self.tape.len() {
            self.tape[self.at] = drawn;
        } else {
            self.tape.push(drawn);
        }
        self.at += 1;
        drawn
    }

    /// True in `times` of `of` cases; false is the simple one.
    pub fn chance(&mut self, times: u32, of: u32) -> bool {
        self.below(of) >= of - times
    }

    /// One of `items`, which is not empty; the first is the simplest.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u32) as usize]
    }

    /// What was drawn so far.
    pub fn tape(&self) -> &[u32] {
        &self.tape[..self.at.min(self.tape.len())]
    }
}

/// The smallest tape that still `fails`, as far as some hundred tries find it.
pub fn shrink(mut tape: Vec<u32>, mut tries: u32, mut fails: impl FnMut(&[u32]) -> bool) -> Vec<u32> {
    let mut attempt = |tape: &mut Vec<u32>, shorter: Vec<u32>| {
        if tries == 0 || shorter == *tape {
            return false;
        }
        tries -= 1;
        let smaller = fails(&shorter);
        if smaller {
            *tape = shorter;
        }
        smaller
    };
    loop {
        let before = tape.clone();
        for width in [16, 8, 4, 2, 1] {
            let mut at = 0;
            while at < tape.len() {
                let end = (at + width).min(tape.len());
                let without: Vec<u32> = tape[..at].iter().chain(&tape[end..]).copied().collect();
                if attempt(&mut tape, without) {
                    continue;
                }
                let mut zeroed = tape.clone();
                zeroed[at..end].fill(0);
                attempt(&mut tape, zeroed);
                at += width;
            }
        }
        for at in 0..tape.len() {
            let mut less = tape.clone();
            less[at] /= 2;
            attempt(&mut tape, less);
        }
        if tape == before {
            return tape;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tape_gives_the_same_again_and_shrinks() {
        let mut draws = Draws::new(7);
        let drawn: Vec<u32> = (0..50).map(|_| draws.below(100)).collect();
        let mut again = Draws::replay(draws.tape().to_vec());
        assert_eq!((0..50).map(|_| again.below(100)).collect::<Vec<_>>(), drawn);
        assert_eq!(again.below(5), 0);
        let smallest = shrink(drawn, 10_000, |tape| tape.iter().any(|&n| n >= 40));
        assert!(smallest.len() == 1 && (40..80).contains(&smallest[0]), "{smallest:?}");
    }
}
