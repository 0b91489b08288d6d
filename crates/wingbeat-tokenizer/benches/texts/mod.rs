//! Made-up texts of three kinds, a mebibyte each: samples with slots that a fixed random sequence fills.
//!
//! They are made of fewer different words than real texts, so a plain trie finds more of its nodes in the cache
//! than it otherwise would; the cursors' speed hardly depends on the text.

use std::sync::LazyLock;

const TEXT_BYTES: usize = 1 << 20;

/// What a text is of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Prose,
    Multilingual,
    Code,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Kind; 3] = [Kind::Prose, Kind::Multilingual, Kind::Code];

    /// The text, made at the first call.
    pub(crate) fn text(self) -> &'static [u8] {
        static TEXTS: LazyLock<[String; 3]> = LazyLock::new(|| {
            [fill(&PROSE, &WORDS, 1), fill(&MULTILINGUAL, &WORLD_WORDS, 2), fill(&CODE, &NAMES, 3)]
        });
        TEXTS[self as usize].as_bytes()
    }
}

/// Samples in random order, each `@` replaced by a random word and each `#` by a random number.
fn fill(samples: &[&str], words: &[&str], seed: u64) -> String {
    let mut state = seed;
    let mut below = |n: usize| {
        // Knuth's MMIX generator; the high bits are the random ones.
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % n
    };
    let mut text = String::with_capacity(TEXT_BYTES + 1024);
    while text.len() < TEXT_BYTES {
        for c in samples[below(samples.len())].chars() {
            match c {
                '@' => text.push_str(words[below(words.len())]),
                '#' => text.push_str(&below(2000).to_string()),
                _ => text.push(c),
            }
        }
    }
    text
}

const PROSE: [&str; 12] = [
    "When the @ came over the hill that evening, nobody in the @ had thought of closing the gate. ",
    "\"I should never have sold the @,\" she said, and put the @ back on its shelf.\n\n",
    "There were # of them by the spring, and by the time of the harvest hardly a @ remained. ",
    "He walked slowly, for the @ was heavy; and yet, as he told it later, he had not once looked round. ",
    "It is generally held that a @ without a @ cannot last, but the records of # show otherwise. ",
    "Which of the two had been right, the old @ or the young @, was a question for another winter.\n\n",
    "Rain fell on the @. The @ of the house stood at the window and counted the carriages. ",
    "In chapter # the author describes a @ (the third of its kind), and returns to it only at the end. ",
    "They spoke of the @, of prices, of a cousin's @; at last the conversation died away entirely. ",
    "Nothing is so difficult as explaining a @ to someone who doesn't want to understand it. ",
    "\"And what,\" asked the @, \"if it isn't there?\"\n\n\"Then we'll have learned something about the @.\"\n\n",
    "By # o'clock the harbour was empty, except for one @, whose lanterns were still burning. ",
];

const WORDS: [&str; 32] = [
    "messenger",
    "village",
    "clock",
    "letter",
    "garden",
    "physician",
    "bridge",
    "orchard",
    "promise",
    "instrument",
    "kingdom",
    "stranger",
    "mirror",
    "expedition",
    "schoolmaster",
    "river",
    "candle",
    "inheritance",
    "neighbour",
    "machine",
    "painting",
    "conversation",
    "fisherman",
    "library",
    "thunderstorm",
    "horse",
    "argument",
    "telescope",
    "daughter",
    "wilderness",
    "signature",
    "owl",
];

const MULTILINGUAL: [&str; 14] = [
    "春天来了，@旁边的树都开花了，孩子们在草地上跑来跑去。",
    "他说这本关于@的书一共有#页，可是他只看了一半。\n",
    "科学家发现，@的变化比我们以前想象的要快得多。",
    "昨日、駅の前で古い友達に会って、@について長い間話しました。",
    "この@は#年に作られたもので、今でも毎日使われています。\n",
    "Вчера вечером мы долго говорили о том, как @ изменит нашу жизнь. ",
    "В # году здесь построили мост, и @ стал намного ближе к городу.\n",
    "Увечері вона відкрила вікно й довго слухала, як шумить @. ",
    "어제 도서관에서 @에 관한 책을 읽었는데 정말 재미있었습니다. ",
    "그 마을에는 사람이 #명쯤 살고 있고, 모두 @을 알고 있다.\n",
    "Το πρωί ο ήλιος έλαμπε πάνω από τη θάλασσα και @ ήταν ήδη εκεί. ",
    "في المساء جلسنا قرب النهر وتحدثنا عن @ حتى منتصف الليل. ",
    "Später, als @ längst vergessen war, fragte niemand mehr nach den # Gründen. ",
    "🦉🌍 @ 😀👍🏽 #% ✨\n",
];

const WORLD_WORDS: [&str; 16] = [
    "图书馆",
    "天气",
    "音乐",
    "望远镜",
    "鉄道",
    "ことば",
    "музыка",
    "телескоп",
    "ліс",
    "час",
    "음악",
    "시간",
    "η μουσική",
    "الموسيقى",
    "Wetter",
    "🦜",
];

const CODE: [&str; 10] = [
    "/// Returns the @ of every @ that is still open.\npub fn @_of(@: &[u32], limit: usize) -> Option<usize> {\n    \
     @.iter().position(|&x| x as usize > limit)\n}\n\n",
    "    for (i, @) in self.@.iter_mut().enumerate() {\n        if i % # == 0 {\n            continue;\n        }\n        \
     @.push(i);\n    }\n",
    "#[derive(Debug, Clone, PartialEq)]\nstruct @ {\n    @: Vec<u8>,\n    n_@: usize,\n}\n\n",
    "impl Iterator for @<'_> {\n    type Item = u32;\n\n    fn next(&mut self) -> Option<u32> {\n        \
     self.@.next().map(|x| x ^ 0x#)\n    }\n}\n\n",
    "        match @ {\n            Some(x) if x < # => return Err(Error::@(x)),\n            _ => {}\n        }\n",
    "def @(self, @, *, limit=#):\n    \"\"\"Yields each @ once.\"\"\"\n    seen = set()\n    for item in @:\n        \
     if item not in seen:\n            seen.add(item)\n            yield item\n\n",
    "    if __name__ == \"__main__\":\n        print(f\"{@}: {len(@)} of #\")\n\n",
    "const char *@_name(int @) { return @ < # ? \"@\" : NULL; }\n",
    "{\"@\": [#, #, #], \"@\": {\"name\": \"@\", \"value\": null}},\n",
    "// -----------------------------------------------------------------------------\n",
];

const NAMES: [&str; 20] = [
    "tokens", "block", "offset", "reader", "entries", "buffer", "node", "children", "state", "cache",
    "index", "label", "request", "handle", "path", "result", "version", "weights", "Layer", "Config",
];
