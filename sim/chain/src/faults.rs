//! What the outside does wrong, drawn call by call.

use gridhouse_base::random::Random;

/// How often the outside does what wrong, each a probability per call.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// A sink does not say where it stands.
    pub silent: f64,
    /// A sink does not take what is written.
    pub refused: f64,
    /// A sink takes what is written, and its answer is lost.
    pub unheard: f64,
    /// The connection of the source breaks within a transaction.
    pub cut: f64,
    /// A snapshot of a source table breaks off and begins anew.
    pub aborted: f64,
    /// A table of the source cannot go on without the user.
    pub unreadable: f64,
    /// The source has lost its slot, where contents can be read again.
    pub slotless: f64,
    /// The stream cannot go on without the user, where contents can be read again.
    pub broken: f64,
}

impl Faults {
    /// Faults as a run has them: often none at all, sometimes many.
    pub fn draw(random: &mut Random) -> Self {
        let mut rate = || *random.pick(&[0.0, 0.0, 0.05, 0.3]);
        let faults = Self { silent: rate(), refused: rate(), unheard: rate(), cut: rate(), ..Self::default() };
        let aborted = rate();
        // What has all contents read again is rarer.
        let mut seldom = || rate() * 0.2;
        Self { aborted, unreadable: seldom(), slotless: seldom(), broken: seldom(), ..faults }
    }
}
