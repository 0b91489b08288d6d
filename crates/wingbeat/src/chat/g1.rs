//! The prompt format of RWKV World and G1 models, `rwkv-world` in GGUF files.
//!
//! As trained (RWKV-LM, `RWKV-v7/RWKV7-G1x-templates.txt`): blocks `System: …`, `User: …`, `Assistant: …`
//! between blank lines, hence no blank line within what people say ([`clean`]); the prompt ends in
//! `Assistant:` without a space, which belongs to the model's first token.
//!
//! An answer ends at token 0 or at [`STOPS`], never at a blank line alone: answers have paragraphs.

use super::{Message, PromptOptions, Role, Template, ThinkLength, Thinking, Tools};

/// Texts at which an answer ends.
pub const STOPS: &[&str] = &["\n\nUser:"];

/// Tokens at which an answer ends: 0, the end of a document.
pub const STOP_TOKENS: &[u32] = &[0];

/// The row of this family.
pub(super) const TEMPLATE: Template = Template {
    name: "rwkv-world",
    stops: STOPS,
    stop_tokens: STOP_TOKENS,
    render: render_with,
    render_next,
    opening,
};

/// Between two blocks.
const SEPARATOR: &str = "\n\n";

/// A message as it may stand within a block: CRLF to LF, runs of line breaks to one, no white space at
/// either end. Without this a message could end its own block and speak for the assistant.
pub fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    let mut rest = strip(text).chars().peekable();
    while let Some(c) = rest.next() {
        let c = if c == '\r' && rest.peek() == Some(&'\n') {
            rest.next();
            '\n'
        } else {
            c
        };
        if c != '\n' || !cleaned.ends_with('\n') {
            cleaned.push(c);
        }
    }
    cleaned
}

/// The whole prompt of a conversation, ending in the assistant's opening.
///
/// * Tools are told once, at the beginning: after the text of a first system message, or alone.
/// * The thinking mark (such as ` (think a bit)`) goes to the last user message.
/// * A last message of the assistant is the beginning of an answer, which the model then goes on with; no
///   other opening follows.
/// * An answer stands as it is but for white space at its ends; whoever keeps a history passes answers with
///   their [`Template::opening`], and user texts with the mark they were given (see [`mark`]), if the text
///   is to equal the one that a session's state has seen.
pub fn render(messages: &[Message], thinking: Thinking, tools: Option<&Tools>) -> String {
    let mut prompt = String::new();
    let mut after = messages;
    if let Some(tools) = tools {
        let system = match messages.split_first() {
            Some((first, rest)) if first.role == Role::System => {
                after = rest;
                clean(&first.content)
            }
            _ => String::new(),
        };
        block(&mut prompt, "System:", &tools_text(&system, tools));
    }
    add_messages(&mut prompt, after, thinking);
    add_opening(&mut prompt, messages, thinking, tools);
    prompt
}

/// What one turn adds to a running session; for the first turn it is the whole prompt. Later ones begin
/// with the blank line after the last answer, which the session has yet to be fed.
///
/// Where an answer ended at a stop text, the model itself has said the beginning of that (`"\n\nUser"`, say):
/// what of it the state has seen must be left out here, by going back to the state before it or by feeding
/// only the rest.
pub fn render_turn(first: bool, system: Option<&str>, user: &str, thinking: Thinking) -> String {
    let mut messages = Vec::with_capacity(2);
    messages.extend(system.map(Message::system));
    messages.push(Message::user(user));
    let prompt = render(&messages, thinking, None);
    if first { prompt } else { format!("{SEPARATOR}{prompt}") }
}

/// What the user's text ends with to ask for a length of thinking; a space comes first, or it is empty.
pub fn mark(thinking: Thinking) -> &'static str {
    match thinking {
        Thinking::Think(ThinkLength::Short) => " (think a bit)",
        Thinking::Think(ThinkLength::Medium) => " (think)",
        Thinking::Think(ThinkLength::Long) => " (think a lot)",
        Thinking::Think(ThinkLength::Free) | Thinking::Off | Thinking::Fake | Thinking::FakeCompact => "",
    }
}

/// [`render`], with its options in one.
fn render_with(messages: &[Message], options: &PromptOptions) -> String {
    render(messages, options.thinking, options.tools.as_ref())
}

/// The blocks of messages after an answer. The tools were told at the beginning of the conversation; only
/// the opening heeds them.
fn render_next(messages: &[Message], options: &PromptOptions) -> String {
    let mut prompt = String::new();
    add_messages(&mut prompt, messages, options.thinking);
    add_opening(&mut prompt, messages, options.thinking, options.tools.as_ref());
    format!("{SEPARATOR}{prompt}")
}

fn opening(messages: &[Message], options: &PromptOptions) -> String {
    answer_opening(messages, options.thinking, options.tools.as_ref()).to_owned()
}

/// One block for each message.
fn add_messages(prompt: &mut String, messages: &[Message], thinking: Thinking) {
    let marked = messages.iter().rposition(|message| message.role == Role::User);
    for (at, message) in messages.iter().enumerate() {
        match message.role {
            Role::System => {
                let text = clean(&message.content);
                if !text.is_empty() {
                    block(prompt, "System:", &text);
                }
            }
            Role::User => {
                let mut text = clean(&message.content);
                if marked == Some(at) {
                    text.push_str(mark(thinking));
                }
                // The mark alone, where there is no text, comes without its space.
                block(prompt, "User:", strip(&text));
            }
            Role::Function => {
                block(prompt, "User:", &format!("Function output:\n{}", clean(&message.content)));
            }
            Role::Assistant => block(prompt, "Assistant:", strip(&message.content)),
        }
    }
}

/// The block in which the model goes on, unless the last message is that already.
fn add_opening(prompt: &mut String, messages: &[Message], thinking: Thinking, tools: Option<&Tools>) {
    if messages.last().is_none_or(|message| message.role != Role::Assistant) {
        block(prompt, "Assistant:", answer_opening(messages, thinking, tools));
    }
}

/// How the assistant's block begins. Thinking goes before a forced call; after a function's output nothing
/// is forced, or the model would call for ever; and an answer already begun has its own beginning.
fn answer_opening(messages: &[Message], thinking: Thinking, tools: Option<&Tools>) -> &'static str {
    let last = messages.last().map(|message| message.role);
    if last == Some(Role::Assistant) {
        return "";
    }
    match thinking {
        Thinking::Think(_) => "<think",
        Thinking::Fake => "<think>\n</think",
        Thinking::FakeCompact => "<think></think",
        Thinking::Off if last == Some(Role::User) && tools.is_some_and(|tools| tools.prefill) => "```json",
        Thinking::Off => "",
    }
}

/// The instructions with the tools in them.
fn tools_text(system: &str, tools: &Tools) -> String {
    let definitions = clean(&tools.definitions);
    let tools = format!("Tools:\n{definitions}\nReturn only a JSON function call.");
    if system.is_empty() { tools } else { format!("{system}\n{tools}") }
}

/// Adds a block; with no text there is no space after the name, which would be a token of its own.
fn block(prompt: &mut String, name: &str, text: &str) {
    if !prompt.is_empty() {
        prompt.push_str(SEPARATOR);
    }
    prompt.push_str(name);
    if !text.is_empty() {
        prompt.push(' ');
        prompt.push_str(text);
    }
}

/// Without white space at the ends, by Python's definition, as the reference strips: four separators
/// (U+001C to U+001F) more than Rust's.
fn strip(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c))
}
