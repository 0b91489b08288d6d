//! From a conversation to the text that the model is prompted with.
//!
//! The first step of the data path for talk: messages in, prompt text out, to be tokenized and run by
//! others. A template family is one file here and one row in [`TEMPLATES`]; which one a model wants is
//! said by its file (`tokenizer.chat_template` of a GGUF) where that holds a name known here. Jinja texts
//! are not interpreted.
//!
//! Two forms of the same: [`Template::render`] gives the whole prompt of a conversation, for a state that
//! holds nothing; [`Template::render_next`] gives only what new messages add, for a session whose state
//! already holds everything before them, the model's own last answer included. The pieces and answers of a
//! session, one after the other, are the text of the whole.

pub mod g1;

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

/// Why a name from outside means nothing here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChatError {
    /// No such role.
    #[error("chat role: expected system, developer, user, assistant, tool or function, found {found:?}")]
    UnknownRole {
        /// What was given.
        found: String,
    },
    /// No such way of thinking.
    #[error(
        "thinking: expected off, think, think-short, think-medium, think-long, fake or fake-compact, \
         found {found:?}"
    )]
    UnknownThinking {
        /// What was given.
        found: String,
    },
}

/// Who says a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Instructions for the whole conversation.
    System,
    /// The human, or whoever asks.
    User,
    /// The model.
    Assistant,
    /// What a function that the model called gave back.
    Function,
}

impl Role {
    /// The role's lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Function => "function",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = ChatError;

    /// The names that chat requests use, with `developer` and `tool` for what others call `system` and
    /// `function`.
    fn from_str(name: &str) -> Result<Role, ChatError> {
        match name {
            "system" | "developer" => Ok(Role::System),
            "user" => Ok(Role::User),
            "assistant" => Ok(Role::Assistant),
            "function" | "tool" => Ok(Role::Function),
            _ => Err(ChatError::UnknownRole { found: name.to_owned() }),
        }
    }
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said, without any marks of a template.
    pub content: String,
}

impl Message {
    /// A message of any role.
    pub fn new(role: Role, content: impl Into<String>) -> Message {
        Message { role, content: content.into() }
    }

    /// Instructions.
    pub fn system(content: impl Into<String>) -> Message {
        Message::new(Role::System, content)
    }

    /// A question or request.
    pub fn user(content: impl Into<String>) -> Message {
        Message::new(Role::User, content)
    }

    /// An answer of the model.
    pub fn assistant(content: impl Into<String>) -> Message {
        Message::new(Role::Assistant, content)
    }

    /// The output of a function.
    pub fn function(content: impl Into<String>) -> Message {
        Message::new(Role::Function, content)
    }
}

/// How long the model is asked to think.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ThinkLength {
    /// As it likes: nothing is said about it.
    #[default]
    Free,
    /// A bit.
    Short,
    /// Asked to think, no word about how much.
    Medium,
    /// A lot.
    Long,
}

/// Whether the model thinks before it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Thinking {
    /// It answers at once.
    #[default]
    Off,
    /// It thinks first, aloud, between `<think>` and `</think>`.
    Think(ThinkLength),
    /// It is made to believe that it has thought, by an empty thought: fast, with some of the benefit.
    Fake,
    /// The same without a line break in the empty thought.
    FakeCompact,
}

impl Thinking {
    /// Every way, in the order of the names in messages and help texts.
    pub const ALL: [Thinking; 7] = [
        Thinking::Off,
        Thinking::Think(ThinkLength::Free),
        Thinking::Think(ThinkLength::Short),
        Thinking::Think(ThinkLength::Medium),
        Thinking::Think(ThinkLength::Long),
        Thinking::Fake,
        Thinking::FakeCompact,
    ];

    /// Its name, as [`Thinking::from_str`] reads it.
    pub fn name(self) -> &'static str {
        match self {
            Thinking::Off => "off",
            Thinking::Think(ThinkLength::Free) => "think",
            Thinking::Think(ThinkLength::Short) => "think-short",
            Thinking::Think(ThinkLength::Medium) => "think-medium",
            Thinking::Think(ThinkLength::Long) => "think-long",
            Thinking::Fake => "fake",
            Thinking::FakeCompact => "fake-compact",
        }
    }
}

impl fmt::Display for Thinking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Thinking {
    type Err = ChatError;

    fn from_str(name: &str) -> Result<Thinking, ChatError> {
        Thinking::ALL
            .into_iter()
            .find(|thinking| thinking.name() == name)
            .ok_or_else(|| ChatError::UnknownThinking { found: name.to_owned() })
    }
}

/// Functions that the model may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tools {
    /// Their descriptions as text, best one JSON object a line.
    pub definitions: String,
    /// Whether the answer to a user's message is opened as a JSON block, so that it must be a call. Without
    /// it the model still may decide to answer in words.
    pub prefill: bool,
}

/// What a prompt is to bring about, besides the messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PromptOptions {
    /// Whether the model thinks first.
    pub thinking: Thinking,
    /// What it may call.
    pub tools: Option<Tools>,
}

/// One family of prompt formats.
#[derive(Clone, Copy, Debug)]
pub struct Template {
    /// Its name, as in a GGUF's `tokenizer.chat_template`.
    pub name: &'static str,
    /// Texts at which an answer ends.
    pub stops: &'static [&'static str],
    /// Tokens at which an answer ends.
    pub stop_tokens: &'static [u32],
    render: fn(&[Message], &PromptOptions) -> String,
    render_next: fn(&[Message], &PromptOptions) -> String,
    opening: fn(&[Message], &PromptOptions) -> String,
}

/// Every template family known, the default first.
pub static TEMPLATES: &[Template] = &[g1::TEMPLATE];

impl Template {
    /// The family of this name, exactly as a GGUF's `tokenizer.chat_template` spells it; none for other
    /// names and for Jinja texts.
    pub fn by_name(name: &str) -> Option<&'static Template> {
        TEMPLATES.iter().find(|template| template.name == name)
    }

    /// The whole prompt of a conversation, ending where the model goes on.
    pub fn render(&self, messages: &[Message], options: &PromptOptions) -> String {
        (self.render)(messages, options)
    }

    /// What new messages add to a conversation whose earlier text, the last answer included, was run
    /// already.
    pub fn render_next(&self, messages: &[Message], options: &PromptOptions) -> String {
        (self.render_next)(messages, options)
    }

    /// The part of the answer that the prompt already says (such as `<think`): whoever shows or keeps the
    /// answer puts it before the generated text. `messages` as for the prompt.
    pub fn opening(&self, messages: &[Message], options: &PromptOptions) -> String {
        (self.opening)(messages, options)
    }
}
