//! CRC-32 as zip archives have it: polynomial 0xedb88320, reflected, all ones before and after.

/// How many bytes are summed at a time, by a table each.
const N: usize = 8;

/// `TABLES[k][b]`: what byte `b` does to the sum, `k` bytes of zeros later.
static TABLES: [[u32; 256]; N] = tables();

const fn tables() -> [[u32; 256]; N] {
    let mut tables = [[0; 256]; N];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = sum >> 1 ^ if sum & 1 == 1 { 0xedb8_8320 } else { 0 };
            bit += 1;
        }
        tables[0][byte] = sum;
        byte += 1;
    }
    let mut k = 1;
    while k < N {
        let mut byte = 0;
        while byte < 256 {
            let sum = tables[k - 1][byte];
            tables[k][byte] = sum >> 8 ^ tables[0][(sum & 0xff) as usize];
            byte += 1;
        }
        k += 1;
    }
    tables
}

/// A sum over bytes as they come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crc(u32);

impl Crc {
    pub(super) fn new() -> Crc {
        Crc(u32::MAX)
    }

    /// The sum of `bytes` alone.
    pub(super) fn of(bytes: &[u8]) -> u32 {
        let mut crc = Crc::new();
        crc.add(bytes);
        crc.sum()
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        let mut sum = self.0;
        let mut chunks = bytes.chunks_exact(N);
        for chunk in &mut chunks {
            let mut next = 0;
            for (k, &byte) in chunk.iter().enumerate() {
                let byte = if k < 4 { byte ^ (sum >> (8 * k)) as u8 } else { byte };
                next ^= TABLES[N - 1 - k][usize::from(byte)];
            }
            sum = next;
        }
        for &byte in chunks.remainder() {
            sum = sum >> 8 ^ TABLES[0][usize::from(sum as u8 ^ byte)];
        }
        self.0 = sum;
    }

    pub(super) fn sum(self) -> u32 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use super::Crc;

    #[test]
    fn known_sums() {
        // The check value of the catalogues of CRCs.
        assert_eq!(Crc::of(b"123456789"), 0xcbf4_3926);
        assert_eq!(Crc::of(b""), 0);
        let bytes: Vec<u8> = (0..999u32).map(|i| (i * i) as u8).collect();
        for cut in [0, 1, 7, 8, 9, 500] {
            let mut crc = Crc::new();
            crc.add(&bytes[..cut]);
            crc.add(&bytes[cut..]);
            assert_eq!(crc.sum(), Crc::of(&bytes), "{cut}");
        }
    }
}
