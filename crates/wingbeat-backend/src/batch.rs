//! The row map of a pass: which rows belong to which sequence.

/// The rows of one sequence in a pass: `n_tokens` consecutive rows from `first_row` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceRows {
    /// Its first row in every activation buffer of the pass.
    pub first_row: usize,
    /// Its number of rows, at least one.
    pub n_tokens: usize,
}

/// The tokens of a pass, one a row, sequence after sequence. One token of one sequence (decode), many of one (a
/// prompt) and one of many (a batch) are the same thing here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    tokens: Vec<u32>,
    sequences: Vec<SequenceRows>,
    rows_alike: bool,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Adds a sequence's next tokens; does nothing when there are none.
    pub fn push(&mut self, tokens: &[u32]) {
        if !tokens.is_empty() {
            self.sequences.push(SequenceRows { first_row: self.tokens.len(), n_tokens: tokens.len() });
            self.tokens.extend_from_slice(tokens);
        }
    }

    /// Forgets everything, keeps the memory.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.sequences.clear();
        self.rows_alike = false;
    }

    /// Asks for rows that are computed alike however many there are: what comes of a sequence then does not depend on the
    /// others of the pass, bit for bit, where the device can promise it (the CPU does, a GPU does not). It costs passes of
    /// a few rows their fastest way.
    pub fn set_rows_alike(&mut self, rows_alike: bool) {
        self.rows_alike = rows_alike;
    }

    /// Whether rows are to be computed alike however many there are.
    pub fn rows_alike(&self) -> bool {
        self.rows_alike
    }

    /// The number of rows `T`.
    pub fn n_rows(&self) -> usize {
        self.tokens.len()
    }

    /// The token of each row `(T)`.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// The sequences `(B)`, in row order.
    pub fn sequences(&self) -> &[SequenceRows] {
        &self.sequences
    }
}
