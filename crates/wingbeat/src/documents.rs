//! States of documents, and what is asked of a state: many short continuations in one batch (field analysis).
//!
//! A document is read once; its state is forked on the device for every prompt, and all prompts run side by side. No state
//! goes through the host.

use crate::{
    Batch, Error, ForwardOptions, GenerateOptions, Generation, Model, Output, Progress, Session, State, Want,
    perplexity::surprise, sampler::SamplerConfig,
};

/// Bytes of states that a group of texts may need at once.
const STATE_BYTES: usize = 1 << 30;
/// Texts of a group at most: with more, their rows fill passes no better.
const MOST_TEXTS: usize = 128;
/// Bytes of logits that come back from one call at most.
const LOGITS_BYTES: usize = 64 << 20;

/// Texts that run together.
pub(crate) struct Group<'a> {
    /// Their tokens.
    pub(crate) texts: Vec<&'a [u32]>,
    /// Tokens of the groups before, and of all.
    pub(crate) tokens_before: usize,
    pub(crate) tokens_in_all: usize,
}

/// How likely an answer is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// `ln p(answer | document, prompt)`: the sum over its tokens, in nats.
    pub log_likelihood: f64,
    /// Tokens of the answer.
    pub n_tokens: usize,
}

/// What was generated after a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The text.
    pub text: Vec<u8>,
    /// How it ended.
    pub generation: Generation,
}

impl Model {
    /// The state of a model that has read a text.
    ///
    /// # Errors
    /// The text is empty or has bytes that the vocabulary lacks, or the device fails.
    pub fn state(&self, text: impl AsRef<[u8]>) -> Result<State, Error> {
        let mut states = self.states(&[text], &mut |_| true)?;
        Ok(states.pop().expect("a state for each text"))
    }

    /// The states of several texts, read side by side. `progress` is told of tokens and stops it by returning false.
    ///
    /// # Errors
    /// As [`Model::state`], or `progress` stopped it ([`ModelError::Stopped`](crate::ModelError::Stopped)).
    pub fn states(
        &self,
        texts: &[impl AsRef<[u8]>],
        progress: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Vec<State>, Error> {
        self.states_of_tokens(&self.encode_all(texts)?, progress)
    }

    /// As [`Model::states`], of texts given as tokens.
    ///
    /// # Errors
    /// As [`Model::states`], and a token is outside the vocabulary.
    pub fn states_of_tokens(
        &self,
        texts: &[impl AsRef<[u32]>],
        progress: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Vec<State>, Error> {
        self.check_texts("text", texts)?;
        let (zero, mut outputs, mut states) = (self.new_state()?, Vec::new(), Vec::new());
        for group in self.groups(texts, None) {
            states.extend(self.run_group(&zero, &group, Want::NOTHING, ALIKE, &mut outputs, progress)?);
        }
        Ok(states)
    }

    /// Continues a state with several prompts, each from there, side by side, and returns what is wanted of each. The state
    /// stays as it is.
    ///
    /// # Errors
    /// The state is another model's, a prompt is empty or has bytes that the vocabulary lacks, the device fails, or
    /// `progress` stopped it.
    pub fn continue_batch(
        &self,
        state: &State,
        prompts: &[impl AsRef<[u8]>],
        want: Want,
        progress: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Vec<Output>, Error> {
        self.continue_batch_tokens(state, &self.encode_all(prompts)?, want, progress)
    }

    /// As [`Model::continue_batch`], of prompts given as tokens.
    ///
    /// # Errors
    /// As [`Model::continue_batch`], and a token is outside the vocabulary.
    pub fn continue_batch_tokens(
        &self,
        state: &State,
        prompts: &[impl AsRef<[u32]>],
        want: Want,
        progress: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Vec<Output>, Error> {
        state.check_owner(self, "the state to continue")?;
        self.check_texts("prompt", prompts)?;
        let mut all = Vec::with_capacity(prompts.len());
        for group in self.groups(prompts, None) {
            let mut outputs = Vec::new();
            self.run_group(state, &group, want, ALIKE, &mut outputs, progress)?;
            all.append(&mut outputs);
        }
        Ok(all)
    }

    /// How likely each of some answers is after each prompt, from a state: for every prompt its choices, in their order.
    /// Prompt and answer are tokenized apart; `progress` is told of the prompts' tokens, then of the answers' of each prompt.
    /// Answers of different lengths compare better by `log_likelihood / n_tokens`.
    ///
    /// # Errors
    /// As [`Model::continue_batch`], or a choice is empty.
    pub fn score_choices(
        &self,
        state: &State,
        prompts: &[impl AsRef<[u8]>],
        choices: &[impl AsRef<[u8]>],
        progress: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Vec<Vec<Choice>>, Error> {
        state.check_owner(self, "the state to continue")?;
        let (prompts, choices) = (self.encode_all(prompts)?, self.encode_all(choices)?);
        self.check_texts("prompt", &prompts)?;
        self.check_texts("choice", &choices)?;
        let mut scores = Vec::with_capacity(prompts.len());
        for group in self.groups(&prompts, None) {
            let mut outputs = Vec::new();
            let states = self.run_group(state, &group, Want::LAST_LOGITS, ALIKE, &mut outputs, progress)?;
            for (state, output) in states.iter().zip(&outputs) {
                scores.push(self.score(state, &output.logits, &choices, progress)?);
            }
        }
        Ok(scores)
    }

    /// Scores of answers after a prompt: its state, and the logits after its last token.
    fn score(
        &self,
        state: &State,
        logits: &[f32],
        choices: &[Vec<u32>],
        progress: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Vec<Choice>, Error> {
        let mut scores: Vec<Choice> = choices
            .iter()
            .map(|choice| Choice { log_likelihood: -surprise(logits, choice[0]), n_tokens: choice.len() })
            .collect();
        // The first token of a choice needs no run of its own, the others do.
        let n_vocab = self.config().n_vocab;
        let most_tokens = (LOGITS_BYTES / (n_vocab * size_of::<f32>())).max(1);
        let longer: Vec<usize> = (0..choices.len()).filter(|&i| choices[i].len() > 1).collect();
        let inputs: Vec<&[u32]> = longer.iter().map(|&i| &choices[i][..choices[i].len() - 1]).collect();
        let mut at = 0;
        while at < longer.len() {
            let mut n_tokens = 0;
            let fits = |input: &&&[u32]| {
                n_tokens += input.len();
                n_tokens <= most_tokens
            };
            let n = inputs[at..].iter().take_while(fits).count().clamp(1, self.most_texts());
            let n = n.min(longer.len() - at);
            let texts = inputs[at..at + n].to_vec();
            let tokens_in_all = texts.iter().map(|text| text.len()).sum();
            let group = Group { texts, tokens_before: 0, tokens_in_all };
            let mut outputs = Vec::new();
            self.run_group(state, &group, Want::ALL_LOGITS, ALIKE, &mut outputs, progress)?;
            for (&choice, output) in longer[at..at + n].iter().zip(&outputs) {
                let rows = output.logits.chunks_exact(n_vocab).zip(&choices[choice][1..]);
                scores[choice].log_likelihood -= rows.map(|(row, &token)| surprise(row, token)).sum::<f64>();
            }
            at += n;
        }
        Ok(scores)
    }

    /// Generates an answer after each prompt, from a state, side by side. The seed of prompt `i` is the sampler's plus `i`.
    /// `on_text` takes each piece of text with its prompt's number, and ends that answer by returning false.
    ///
    /// # Errors
    /// As [`Model::continue_batch`], and a sampler setting is out of range, a stop text is empty, or logits cannot be
    /// sampled.
    pub fn answer_batch(
        &self,
        state: &State,
        prompts: &[impl AsRef<[u8]>],
        sampler: &SamplerConfig,
        options: &GenerateOptions,
        on_text: &mut dyn FnMut(usize, &[u8]) -> bool,
    ) -> Result<Vec<Answer>, Error> {
        state.check_owner(self, "the state to continue")?;
        let prompts = self.encode_all(prompts)?;
        self.check_texts("prompt", &prompts)?;
        let mut answers = Vec::with_capacity(prompts.len());
        for group in self.groups(&prompts, None) {
            let first = answers.len();
            let mut batch = Batch::new(self);
            for (i, (state, tokens)) in
                state.fork_many(group.texts.len())?.into_iter().zip(&group.texts).enumerate()
            {
                let seed = sampler.seed.wrapping_add((first + i) as u64);
                let session = Session::new(self, state, SamplerConfig { seed, ..sampler.clone() })?;
                batch.add(session, tokens, options)?;
            }
            let mut texts = vec![Vec::new(); group.texts.len()];
            let ends = batch.run(&mut |i, text| {
                texts[i].extend_from_slice(text);
                on_text(first + i, text)
            })?;
            for (text, end) in texts.into_iter().zip(ends) {
                answers.push(Answer { text, generation: end.result? });
            }
        }
        Ok(answers)
    }

    /// Tokens of texts.
    pub(crate) fn encode_all(&self, texts: &[impl AsRef<[u8]>]) -> Result<Vec<Vec<u32>>, Error> {
        let tokenizer = self.tokenizer()?;
        texts.iter().map(|text| Ok(tokenizer.encode(text.as_ref())?)).collect()
    }

    /// No text may be empty: there would be nothing to make anything of.
    pub(crate) fn check_texts(&self, what: &'static str, texts: &[impl AsRef<[u32]>]) -> Result<(), Error> {
        let vocab = self.config().n_vocab;
        for (sequence, text) in texts.iter().enumerate() {
            let text = text.as_ref();
            if text.is_empty() {
                return Err(Error::EmptyInput { what, index: sequence });
            }
            if let Some(position) = text.iter().position(|&token| token as usize >= vocab) {
                let token = text[position];
                return Err(crate::ModelError::TokenOutOfRange { sequence, position, token, vocab }.into());
            }
        }
        Ok(())
    }

    /// Texts that may run together at most, by the memory of their states.
    fn most_texts(&self) -> usize {
        (STATE_BYTES / self.state_layout().len_bytes().max(1)).clamp(1, MOST_TEXTS)
    }

    /// Cuts texts into groups that run together, in order.
    pub(crate) fn groups<'a>(
        &self,
        texts: &'a [impl AsRef<[u32]>],
        most: Option<usize>,
    ) -> impl Iterator<Item = Group<'a>> {
        let most = self.most_texts().min(most.unwrap_or(usize::MAX)).max(1);
        let tokens_in_all = texts.iter().map(|text| text.as_ref().len()).sum();
        let mut tokens_before = 0;
        texts.chunks(most).map(move |chunk| {
            let texts: Vec<&[u32]> = chunk.iter().map(AsRef::as_ref).collect();
            let n_tokens: usize = texts.iter().map(|text| text.len()).sum();
            let group = Group { texts, tokens_before, tokens_in_all };
            tokens_before += n_tokens;
            group
        })
    }
}

/// Calls whose sequences don't depend on each other.
pub(crate) const ALIKE: ForwardOptions = ForwardOptions { n_layers: None, rows_alike: true };

impl State {
    /// Takes in more text; returns the number of tokens. The text's tokens are its own: where the earlier text ended does
    /// not matter. An empty one does nothing.
    ///
    /// # Errors
    /// The text has bytes that the vocabulary lacks, or the device fails.
    pub fn extend(&mut self, text: impl AsRef<[u8]>) -> Result<usize, Error> {
        let tokens = self.model().tokenizer()?.encode(text.as_ref())?;
        self.extend_tokens(&tokens, &mut |_| true)?;
        Ok(tokens.len())
    }

    /// Takes in more tokens. `progress` may stop it by returning false: the state then holds the tokens done so far.
    ///
    /// # Errors
    /// A token is outside the vocabulary, the device fails, or `progress` stopped it.
    pub fn extend_tokens(
        &mut self,
        tokens: &[u32],
        progress: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<(), Error> {
        let model = self.model().clone();
        let sequence = crate::Sequence { state: self, tokens, want: Want::NOTHING };
        model.forward_as(&mut [sequence], ALIKE, &mut Vec::new(), progress)
    }
}
