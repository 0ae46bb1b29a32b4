//! Compression formats, and what decompresses them.
//!
//! The format is detected from the first bytes, never from a name. Every core decompresses blocks of
//! bgzip; any other format is one stream, which one core decompresses.

use std::io::{self, BufRead, Cursor, Read};
use std::num::NonZero;

use flate2::bufread::GzDecoder;
use noodles_bgzf::io::MultithreadedReader;

use crate::io::notices::Notices;
use crate::io::source::{Block, ReaderSource, Source};
use crate::parallel;

/// Length of a bgzip block's header (SAM specification, 4.1).
const BGZIP_HEADER: usize = 18;

/// Length of the empty block that every whole bgzip file ends with (SAM specification, 4.1.2). No other
/// block is as short.
const BGZIP_END: usize = 28;

const CUT_AT_A_BLOCK: &str = "lacks the EOF marker, the last block of a bgzip file, so it may be cut off; \
                              compare its size with the original's";

/// How a file is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// As one or more gzip streams.
    Gzip,
    /// As gzip in blocks of 64 KiB, which can be decompressed in parallel.
    Bgzip,
    /// As zstd.
    Zstd,
    /// As bzip2.
    Bzip2,
    /// As xz.
    Xz,
}

impl Packing {
    /// How something is packed that begins with these bytes.
    #[must_use]
    pub fn of(head: &[u8]) -> Self {
        match head {
            // A gzip header with one extra field, named BC.
            [0x1f, 0x8b, 8, 4, _, _, _, _, _, _, 6, 0, b'B', b'C', ..] => Self::Bgzip,
            [0x1f, 0x8b, ..] => Self::Gzip,
            // A frame, or one that readers skip, as those of pzstd begin.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            _ => Self::Plain,
        }
    }

    /// Its name in messages, empty when the file is not packed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Gzip => "gzip",
            Self::Bgzip => "bgzip",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
        }
    }

    /// The command that writes the content to standard output.
    #[must_use]
    pub fn command(self) -> &'static str {
        match self {
            Self::Plain => "cat",
            Self::Gzip | Self::Bgzip => "gunzip -c",
            Self::Zstd => "zstd -dc",
            Self::Bzip2 => "bzip2 -dc",
            Self::Xz => "xz -dc",
        }
    }
}

/// Packed bytes, from the first one on.
pub type Raw = Box<dyn BufRead + Send>;

/// Decompressors from outside the core: that of a packing, or the bytes back where there is none.
pub type Decompressor = fn(Packing, Raw) -> Result<Box<dyn Source>, Raw>;

/// An error in a stream that is sound; its message needs no other words around it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Remark(pub String);

/// The error of bytes that follow the last stream of a file and are not packed.
#[must_use]
pub fn trailing(packing: Packing) -> io::Error {
    let (name, command) = (packing.name(), packing.command());
    let words = match packing {
        Packing::Gzip | Packing::Bgzip => " (gunzip: decompression OK, trailing garbage ignored)",
        _ => "",
    };
    io::Error::other(Remark(format!(
        "bytes that are not {name} follow the {name} stream{words}; `{command}` writes the content \
         without them to a file"
    )))
}

/// The text of packed bytes. `decompressor` comes before the core's own; `notices` receives warnings.
///
/// # Errors
/// Any error of the decompressing library, or that no library can decompress it.
pub fn inflate(
    packing: Packing,
    raw: Raw,
    decompressor: Decompressor,
    notices: &Notices,
) -> io::Result<Box<dyn Source>> {
    if packing == Packing::Bgzip {
        return Ok(Box::new(Bgzip::new(raw, decompressor, notices.clone())));
    }
    let raw = match decompressor(packing, raw) {
        Ok(source) => return Ok(source),
        Err(raw) => raw,
    };
    Ok(match packing {
        Packing::Plain => Box::new(ReaderSource::new(raw)),
        Packing::Gzip | Packing::Bgzip => {
            Box::new(ReaderSource::new(Gunzip(Some(GzDecoder::new(raw)))))
        }
        Packing::Zstd => Box::new(ReaderSource::new(Zstd(zstd::Decoder::with_buffer(raw)?))),
        Packing::Bzip2 | Packing::Xz => {
            let (name, command) = (packing.name(), packing.command());
            let message = format!("is packed as {name}, which is not read here; use `{command}`");
            return Err(io::Error::other(Remark(message)));
        }
    })
}

/// No decompressor but the core's own.
///
/// # Errors
/// Always: the bytes are given back.
pub fn of_the_core(_: Packing, raw: Raw) -> Result<Box<dyn Source>, Raw> {
    Err(raw)
}

/// gzip streams, one after the other; zeros behind one are padding.
struct Gunzip(Option<GzDecoder<Raw>>);

impl Read for Gunzip {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(stream) = &mut self.0 {
            let count = stream.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let Some(stream) = self.0.take() else { break };
            self.0 = next_gzip(stream.into_inner())?.map(GzDecoder::new);
        }
        Ok(0)
    }
}

/// What follows a gzip stream, if it is another one.
fn next_gzip(mut raw: Raw) -> io::Result<Option<Raw>> {
    loop {
        let bytes = raw.fill_buf()?;
        let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
        match bytes.get(zeros..) {
            Some([0x1f] | [0x1f, 0x8b, ..]) => {
                raw.consume(zeros);
                return Ok(Some(raw));
            }
            Some([_, ..]) => return Err(trailing(Packing::Gzip)),
            _ if zeros == 0 => return Ok(None),
            _ => raw.consume(zeros),
        }
    }
}

struct Zstd(zstd::Decoder<'static, Raw>);

impl Read for Zstd {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| {
            // The texts of libzstd; its numbers do not come through.
            let text = error.to_string();
            if text.contains("too much memory") {
                return io::Error::other(Remark(
                    "its zstd window is larger than 128 MiB, more than is decompressed here; \
                     decompress it first: zstd -d --long=31"
                        .into(),
                ));
            }
            if text.contains("Unknown frame") { trailing(Packing::Zstd) } else { error }
        })
    }
}

/// bgzip, and any gzip that follows it.
enum Bgzip {
    Blocks(Box<ReaderSource<MultithreadedReader<Blocks>>>, Decompressor, Notices),
    Rest(Box<dyn Source>),
    Ended,
}

impl Bgzip {
    fn new(raw: Raw, decompressor: Decompressor, notices: Notices) -> Self {
        let workers = NonZero::new(parallel::count(0)).unwrap_or(NonZero::<usize>::MIN);
        let blocks = MultithreadedReader::with_worker_count(workers, Blocks::new(raw));
        Self::Blocks(Box::new(ReaderSource::new(blocks)), decompressor, notices)
    }
}

impl Source for Bgzip {
    fn next_block(&mut self) -> io::Result<Option<Block>> {
        match self {
            Self::Ended => return Ok(None),
            Self::Rest(rest) => return rest.next_block(),
            Self::Blocks(blocks, ..) => {
                if let Some(block) = blocks.next_block()? {
                    return Ok(Some(block));
                }
            }
        }
        if let Self::Blocks(mut blocks, decompressor, notices) =
            std::mem::replace(self, Self::Ended)
        {
            let Blocks { raw, header, ends_well, .. } = blocks.get_mut().finish()?;
            let rest: Raw = Box::new(Cursor::new(header).chain(raw));
            if let Some(rest) = next_gzip(rest)? {
                *self = Self::Rest(inflate(Packing::Gzip, rest, decompressor, &notices)?);
            } else if !ends_well {
                notices.add(CUT_AT_A_BLOCK);
            }
        }
        match self {
            Self::Rest(rest) => rest.next_block(),
            _ => Ok(None),
        }
    }
}

/// Passes whole bgzip blocks on, and ends before anything else.
struct Blocks {
    raw: Raw,
    /// Read and not passed on.
    header: Vec<u8>,
    /// Bytes of the block that are still to be read.
    left: usize,
    ends_well: bool,
    ended: bool,
}

impl Blocks {
    fn new(raw: Raw) -> Self {
        Self { raw, header: Vec::new(), left: 0, ends_well: false, ended: false }
    }

    /// Read the next header; what is not one stays there.
    fn next(&mut self) -> io::Result<()> {
        self.raw.by_ref().take(BGZIP_HEADER as u64).read_to_end(&mut self.header)?;
        let size = self.header.get(16..).and_then(|size| size.first_chunk());
        let size = size.map_or(0, |&size| usize::from(u16::from_le_bytes(size)) + 1);
        self.ended = Packing::of(&self.header) != Packing::Bgzip || size < BGZIP_HEADER;
        if !self.ended {
            self.left = size - BGZIP_HEADER;
            self.ends_well = size == BGZIP_END;
        }
        Ok(())
    }
}

impl Read for Blocks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && self.header.is_empty() && !self.ended {
            self.next()?;
        }
        if self.ended {
            return Ok(0);
        }
        if !self.header.is_empty() {
            let count = buffer.len().min(self.header.len());
            buffer[..count].copy_from_slice(&self.header[..count]);
            self.header.drain(..count);
            return Ok(count);
        }
        let count = buffer.len().min(self.left);
        let count = self.raw.read(&mut buffer[..count])?;
        if count == 0 && !buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count;
        Ok(count)
    }
}
