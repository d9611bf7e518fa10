//! Tagging in a server: threads and channels of the standard library, no framework.
//!
//! A sentence a line comes in; back go its words, each with a tab and its tag on a line of its own, and a blank line,
//! as `elman tag` prints them. Input that is none is answered with one line, `error: ` and what is wrong, and the
//! connection is closed. One thread owns the model, since a tagger is changed by its use; each connection has a thread
//! that reads, asks and answers.
//!
//! `cargo run -p elman-examples --example server [MODEL]`; without the folder of a model it trains a small one.
#![forbid(unsafe_code)]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use elman_fast::Fast;
use elman_tagger::{ConllWriter, Model, Pipeline, SentenceReader, TrainConfig, Trainer, travel};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Connections at a time; one more is told so and closed.
const CONNECTIONS: usize = 64;
/// Longest line that a client may send, in bytes: as much is held for each connection.
const LINE: usize = 1 << 16;
/// How long a client may be silent, or not read its answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A sentence, and where its tags are to go.
struct Question {
    words: Vec<String>,
    answer: Sender<std::result::Result<Vec<String>, elman_tagger::Error>>,
}

/// A running server.
struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    accepting: JoinHandle<()>,
    tagging: JoinHandle<usize>,
}

impl Server {
    /// Listens at an address (port 0: one that is free) and returns at once.
    fn start(pipeline: Pipeline, address: impl ToSocketAddrs) -> Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        // When the tagger is behind, those who ask wait: the queue does not grow.
        let (ask, questions) = sync_channel(CONNECTIONS);
        let tagging = thread::spawn(move || tag(pipeline, &questions));
        let accepting = thread::spawn({
            let stop = stop.clone();
            move || accept(&listener, &stop, &ask)
        });
        Ok(Server { address, stop, accepting, tagging })
    }

    /// Takes no more input, answers what has come, and returns when every thread has ended: the number of sentences
    /// tagged.
    fn shutdown(self) -> Result<usize> {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for a connection.
        drop(TcpStream::connect(self.address)?);
        self.accepting.join().map_err(|_| "the thread that accepts panicked")?;
        Ok(self.tagging.join().map_err(|_| "the thread that tags panicked")?)
    }
}

/// Answers questions until nobody is left who could ask.
fn tag(mut pipeline: Pipeline, questions: &Receiver<Question>) -> usize {
    let mut sentences = 0;
    for Question { words, answer } in questions {
        let tags = pipeline.tag(&words).map(|tags| tags.into_iter().map(str::to_owned).collect());
        sentences += 1;
        // A client that has gone away needs no answer.
        let _ = answer.send(tags);
    }
    sentences
}

fn accept(listener: &TcpListener, stop: &AtomicBool, ask: &SyncSender<Question>) {
    // Weak, so that a connection is closed when its thread ends.
    let mut connections: Vec<(Weak<TcpStream>, JoinHandle<()>)> = Vec::new();
    for stream in listener.incoming() {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        connections.retain(|(_, thread)| !thread.is_finished());
        let Ok(stream) = stream else {
            // Most often there are no file descriptors left: wait until some are.
            thread::sleep(Duration::from_millis(50));
            continue;
        };
        if connections.len() == CONNECTIONS {
            let _ = writeln!(&stream, "error: {CONNECTIONS} connections already, try again later");
            continue;
        }
        let (stream, ask) = (Arc::new(stream), ask.clone());
        let handle = Arc::downgrade(&stream);
        // An error here is a client that went away.
        let thread = thread::spawn(move || drop(serve(&stream, &ask)));
        connections.push((handle, thread));
    }
    for (stream, thread) in connections {
        // The reader sees the end of its input; what was asked is still answered.
        if let Some(stream) = stream.upgrade() {
            let _ = stream.shutdown(Shutdown::Read);
        }
        let _ = thread.join();
    }
}

/// One connection, from its first line to its last.
fn serve(stream: &TcpStream, ask: &SyncSender<Question>) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    // They check lengths and characters, and name the line that is wrong.
    let mut sentences = SentenceReader::lines(stream, "input").longest_line(LINE);
    let problem = loop {
        let words = match sentences.next_sentence() {
            Ok(Some(words)) => words,
            Ok(None) | Err(elman_tagger::Error::Io { .. }) => return Ok(()),
            Err(error) => break error,
        };
        let (answer, answered) = channel();
        ask.send(Question { words: words.clone(), answer })?;
        let tags = match answered.recv()? {
            Ok(tags) => tags,
            Err(error) => break error,
        };
        let mut block = Vec::new();
        ConllWriter::new(&mut block, "answer").write(&words, &tags)?;
        (&*stream).write_all(&block)?;
    };
    writeln!(&*stream, "error: {problem}")?;
    // To close on input that was not read would take the answer away from the client; but not for ever.
    stream.shutdown(Shutdown::Write)?;
    io::copy(&mut stream.take(1 << 24), &mut io::sink())?;
    Ok(())
}

/// A client: it sends a line and waits for the answer.
struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Client { stream: BufReader::new(stream) })
    }

    /// The lines of the answer: each a word, a tab and a tag; or one that begins with `error: `.
    fn ask(&mut self, line: &[u8]) -> io::Result<Vec<String>> {
        self.stream.get_mut().write_all(&[line, b"\n"].concat())?;
        let mut answer = Vec::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line)?;
            match line.trim_end() {
                "" => return Ok(answer),
                line => answer.push(line.to_owned()),
            }
        }
    }
}

fn train() -> Result<Model> {
    let (train, dev) = (travel::corpus(1, 400), travel::corpus(2, 100));
    let config =
        TrainConfig { hidden: 48, embed: 24, learning_rate: 0.2, epochs: 12, ..TrainConfig::default() };
    let network = Fast::new();
    let mut trainer = Trainer::new(&network, config, &train, &dev)?;
    while !trainer.is_finished() {
        trainer.run_epoch(&mut |_| {})?;
    }
    Ok(trainer.into_model())
}

/// What the clients ask: two sentences, a column file, and bytes that are no text.
const LINES: [&[u8]; 4] = [
    b"a night train from lisbon to new york on friday",
    b"show me the cheapest flight from oslo to vienna",
    b"lisbon\tB-origin",
    b"caf\xe9",
];

/// Starts a server, asks it with a client for each line, all at the same time, and stops it.
fn run(model: &Model, out: &mut impl Write) -> Result<()> {
    let server = Server::start(Pipeline::new(model, &Fast::new())?, "127.0.0.1:0")?;
    let address = server.address;
    let clients = LINES.map(|line| thread::spawn(move || Client::connect(address)?.ask(line)));
    for (line, client) in LINES.into_iter().zip(clients) {
        let answer = client.join().map_err(|_| "a client panicked")??;
        let slots: Vec<String> =
            answer.iter().filter(|line| !line.ends_with("\tO")).map(|line| line.replace('\t', " ")).collect();
        writeln!(out, "> {}\n  {}", line.escape_ascii(), slots.join(", "))?;
    }
    writeln!(out, "{} sentences tagged, every thread has ended", server.shutdown()?)?;
    Ok(())
}

fn main() -> Result<()> {
    let model = match std::env::args_os().nth(1) {
        Some(folder) => Model::load(folder)?,
        None => train()?,
    };
    run(&model, &mut io::stdout())
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;
    use std::time::Instant;

    use super::*;

    fn model() -> &'static Model {
        static MODEL: OnceLock<Model> = OnceLock::new();
        MODEL.get_or_init(|| train().unwrap())
    }

    fn server() -> Server {
        Server::start(Pipeline::new(model(), &Fast::new()).unwrap(), "127.0.0.1:0").unwrap()
    }

    #[test]
    fn it_prints_what_the_book_shows() {
        let mut printed = Vec::new();
        run(model(), &mut printed).unwrap();
        elman_examples::assert_shown(
            include_str!("../docs/downstream.md"),
            "cargo run -p elman-examples --example server",
            &String::from_utf8(printed).unwrap(),
        );
    }

    #[test]
    fn many_clients_get_the_answers_of_one() {
        let corpus = travel::corpus(9, 200);
        let mut pipeline = Pipeline::new(model(), &Fast::new()).unwrap();
        let expected: Vec<Vec<String>> = corpus
            .iter()
            .map(|sentence| {
                let tags = pipeline.tag(sentence.words()).unwrap();
                sentence.words().iter().zip(tags).map(|(word, tag)| format!("{word}\t{tag}")).collect()
            })
            .collect();
        let server = server();
        thread::scope(|scope| {
            for part in 0..8 {
                let (corpus, expected, address) = (&corpus, &expected, server.address);
                scope.spawn(move || {
                    let mut client = Client::connect(address).unwrap();
                    for i in (part..corpus.len()).step_by(8) {
                        assert_eq!(client.ask(corpus[i].words().join(" ").as_bytes()).unwrap(), expected[i]);
                    }
                });
            }
        });
        assert_eq!(server.shutdown().unwrap(), corpus.len());
    }

    #[test]
    fn bad_input_is_answered_and_harms_nobody_else() {
        let server = server();
        let mut other = Client::connect(server.address).unwrap();
        let before = other.ask(b"to york").unwrap();
        for (line, problem) in [
            (b"a\tO".to_vec(), "error: input:1: a tab"),
            (b"caf\xe9".to_vec(), "error: input:1: byte 0xe9 at byte 4 is no UTF-8"),
            (b"a\0b".to_vec(), "error: input:1: null byte"),
            (b"a ".repeat(10_001), "error: input:1: 10001 words, expected at most 10000"),
            (b"a".repeat(2000), "error: input:1: "),
            // More than is ever in flight at once: the server must go on reading to be heard.
            (b"a".repeat(8 << 20), "error: input:1: the line is too long, expected at most 65536 bytes"),
        ] {
            let mut client = Client::connect(server.address).unwrap();
            let answer = client.ask(&line).unwrap();
            assert!(answer.len() == 1 && answer[0].starts_with(problem), "{answer:?}");
        }
        // One that never ends is not read for ever.
        let endless = Client::connect(server.address).unwrap();
        let mut writer = endless.stream.get_ref();
        let end = (0..1000).find_map(|_| writer.write_all(&[b'a'; 1 << 16]).err()).unwrap().kind();
        assert!(matches!(end, io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe), "{end}");
        // An empty line is a sentence without words.
        assert_eq!(other.ask(b"").unwrap(), Vec::<String>::new());
        assert_eq!(other.ask(b"to york").unwrap(), before);
        server.shutdown().unwrap();
    }

    #[test]
    fn one_connection_too_many_is_told_so() {
        let server = server();
        let mut held: Vec<Client> =
            (0..CONNECTIONS).map(|_| Client::connect(server.address).unwrap()).collect();
        let mut answer = String::new();
        Client::connect(server.address).unwrap().stream.read_line(&mut answer).unwrap();
        assert_eq!(answer, "error: 64 connections already, try again later\n");
        assert_eq!(held[0].ask(b"york").unwrap().len(), 1);
        // A place is free as soon as its thread has ended.
        held.pop();
        let start = Instant::now();
        let tagged = |answer: Vec<String>| answer.first().is_some_and(|line| line.starts_with("york\t"));
        while !Client::connect(server.address).unwrap().ask(b"york").is_ok_and(tagged) {
            assert!(start.elapsed() < PATIENCE);
            thread::sleep(Duration::from_millis(5));
        }
        server.shutdown().unwrap();
    }

    #[test]
    fn it_stops_though_clients_are_silent() {
        let server = server();
        let (mut silent, mut half) =
            (Client::connect(server.address).unwrap(), Client::connect(server.address).unwrap());
        assert_eq!(silent.ask(b"york").unwrap().len(), 1);
        half.stream.get_mut().write_all(b"half a sen").unwrap();
        let (address, start) = (server.address, Instant::now());
        assert!(server.shutdown().unwrap() >= 1);
        assert!(start.elapsed() < PATIENCE / 3, "{:?}", start.elapsed());
        assert!(TcpStream::connect(address).is_err());
        let mut rest = String::new();
        silent.stream.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
    }
}
