//! The text of a generation: tokens in, pieces of text out, until something ends it.
//!
//! Between the choice of tokens (on the host or on a device, of one sequence or of many) and whoever takes the text. Moving
//! the state to where the text ended is left to the session.

use crate::{Error, GenerateOptions, StopReason, stop::StopMatcher};
use wingbeat_tokenizer::{StreamDecoder, Tokenizer};

/// A text under way.
pub(crate) struct GeneratedText {
    tokenizer: Tokenizer,
    options: GenerateOptions,
    matcher: StopMatcher,
    decoder: StreamDecoder,
    stops_begin_in_ascii: bool,
    n_tokens: usize,
    /// Bytes of the tokens chosen, and of those given to the matcher.
    n_chosen_bytes: usize,
    n_matched_bytes: usize,
    /// The text handed out.
    shown: Vec<u8>,
    held: Option<Held>,
}

/// Where the text held back began: where to go back to if it turns out to be a stop text.
struct Held {
    /// Tokens before the first whose text is held back.
    n_tokens: usize,
    /// Bytes of text before it.
    n_bytes: usize,
}

/// How a generation ended, and where it leaves the state: with some tokens taken in, then the last token or some text.
pub(crate) struct End {
    pub(crate) reason: StopReason,
    /// Tokens of the generation that are taken in.
    pub(crate) n_taken: usize,
    /// Whether logits are wanted of there: no token or text follows that would bring some.
    pub(crate) wants_logits: bool,
    /// A token that was shown and waits to be taken in.
    pub(crate) last: Option<u32>,
    /// Text that was shown and is to be taken in: tokens of which a stop text cut off the rest.
    pub(crate) again: Vec<u8>,
}

impl End {
    /// Of a generation that was to have no tokens.
    pub(crate) fn before_any_token() -> End {
        let reason = StopReason::MaxTokens;
        End { reason, n_taken: 0, wants_logits: false, last: None, again: Vec::new() }
    }
}

impl GeneratedText {
    /// Of no tokens yet.
    ///
    /// # Errors
    /// A stop text is empty.
    pub(crate) fn new(tokenizer: &Tokenizer, options: &GenerateOptions) -> Result<GeneratedText, Error> {
        let matcher = StopMatcher::new(options.stops.iter().map(|s| s.as_bytes().to_vec()).collect())?;
        Ok(GeneratedText {
            tokenizer: tokenizer.clone(),
            options: options.clone(),
            matcher,
            decoder: tokenizer.stream(),
            stops_begin_in_ascii: options
                .stops
                .iter()
                .all(|s| s.as_bytes().first().is_some_and(u8::is_ascii)),
            n_tokens: 0,
            n_chosen_bytes: 0,
            n_matched_bytes: 0,
            shown: Vec::new(),
            held: None,
        })
    }

    /// Tokens chosen so far, a stop token included.
    pub(crate) fn n_tokens(&self) -> usize {
        self.n_tokens
    }

    /// Tokens at most.
    pub(crate) fn most_tokens(&self) -> usize {
        self.options.max_tokens
    }

    /// Whether it may end before that.
    pub(crate) fn has_stops(&self) -> bool {
        !(self.options.stops.is_empty() && self.options.stop_tokens.is_empty())
    }

    /// How many tokens are sure to stay.
    pub(crate) fn n_sure(&self) -> usize {
        self.held.as_ref().map_or(self.n_tokens, |held| held.n_tokens)
    }

    /// Takes the next token and hands out what text there is, whole characters only; how it ended, if it has.
    pub(crate) fn take(
        &mut self,
        token: u32,
        on_text: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<Option<End>, Error> {
        self.n_tokens += 1;
        let n_taken = self.n_tokens - 1;
        if self.options.stop_tokens.contains(&token) {
            let reason = if self.finish(on_text) { StopReason::Token(token) } else { StopReason::Cancelled };
            return Ok(Some(End { reason, n_taken, wants_logits: true, last: None, again: Vec::new() }));
        }
        let before = self.n_chosen_bytes;
        self.n_chosen_bytes += self.tokenizer.vocabulary().token(token).map_or(0, <[u8]>::len);
        let ready = self.decoder.push(token)?;
        self.n_matched_bytes += ready.len();
        let event = self.matcher.push(ready);
        let go_on = event.emit.is_empty() || on_text(event.emit);
        self.shown.extend_from_slice(event.emit);
        if let Some(stop) = event.stopped {
            let reason = StopReason::Text(self.options.stops.get(stop).cloned().unwrap_or_default());
            let wants_logits = self.held.is_none();
            let Held { n_tokens, n_bytes } =
                self.held.take().unwrap_or(Held { n_tokens: n_taken, n_bytes: before });
            let again = self.shown.get(n_bytes..).unwrap_or_default().to_vec();
            return Ok(Some(End { reason, n_taken: n_tokens, wants_logits, last: None, again }));
        }
        let unfinished = self.n_chosen_bytes > self.n_matched_bytes && !self.stops_begin_in_ascii;
        if self.options.stops.is_empty() || !(self.matcher.n_held() > 0 || unfinished) {
            self.held = None;
        } else if self.held.is_none() {
            self.held = Some(Held { n_tokens: n_taken, n_bytes: before });
        }
        if !go_on {
            return Ok(Some(self.end_here(StopReason::Cancelled, token)));
        }
        if self.n_tokens < self.options.max_tokens {
            return Ok(None);
        }
        let reason = if self.finish(on_text) { StopReason::MaxTokens } else { StopReason::Cancelled };
        Ok(Some(self.end_here(reason, token)))
    }

    /// Ends it with the token taken last.
    pub(crate) fn end_here(&self, reason: StopReason, last: u32) -> End {
        let n_taken = self.n_tokens.saturating_sub(1);
        End { reason, n_taken, wants_logits: false, last: Some(last), again: Vec::new() }
    }

    /// Hands out what was held back, if anything.
    fn finish(&mut self, on_text: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        let rest = [self.decoder.finish(), &self.matcher.finish()].concat();
        rest.is_empty() || on_text(&rest)
    }
}
