//! `elman verify --command`: a recurrence in any language, judged by arrays in files.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use elman::ndarray::{ArrayD, ArrayViewD};
use elman::{Cell, Float};
use elman_tagger::{Error, FileKind, write_output};
use elman_verify::{
    Abilities, Answer, Arithmetic, FailingCase, Given, Kernel, Options, Report, Trouble, check_kernel,
};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::output::note;

const SAFETENSORS: FileKind =
    FileKind { name: "a file of arrays", begins: |start| start.get(8).is_some_and(|byte| *byte == b'{') };
const REQUEST: FileKind = FileKind { name: "a request", begins: |start| start.starts_with(b"{") };

/// An answer's file may be this large.
const MAX_ANSWER: u64 = 1 << 30;

/// A program that ends without an answer is started again so many times.
const DEATHS: usize = 20;

/// Options of a judgement over the protocol.
#[derive(clap::Args)]
#[command(next_help_heading = "A recurrence in another language")]
pub(crate) struct CommandArgs {
    /// Judges a program that answers the protocol of benches/peers (its works hello and judge) instead of the kernels
    /// here; arguments follow after blanks
    #[arg(long, value_name = "PROGRAM", group = "program", conflicts_with_all = ["kernel", "isa", "threads"])]
    command: Option<OsString>,
    /// Judges the states of the RNN, GRU or LSTM node of an ONNX file, with weights and sizes of each case, in ONNX
    /// Runtime: by python3 with the packages elman, onnx and onnxruntime
    #[arg(long, value_name = "FILE", group = "program", conflicts_with_all = ["kernel", "isa", "threads"])]
    onnx: Option<PathBuf>,
    /// Judges this cell of the program's alone (elman, elman-tanh, elman-relu, gru, …); may be given several times
    #[arg(long, value_name = "CELL", requires = "program")]
    cell: Vec<Cell>,
    /// The arithmetic that the program computes in, where it is narrower than f32: tf32, bf16 or f16
    #[arg(long, value_name = "NAME", requires = "program")]
    arithmetic: Option<Arithmetic>,
    /// Lets the program give other bits, within what is allowed, each time that it is asked the same
    #[arg(long, requires = "program")]
    unrepeatable: bool,
    /// Lets the program take subnormal numbers for zero
    #[arg(long, requires = "program")]
    flush_subnormals: bool,
    /// Seconds that the program may take for an answer
    #[arg(long, value_name = "N", requires = "program", default_value_t = 60,
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// The folder that keeps a failing case
    #[arg(long, value_name = "FOLDER", requires = "program", default_value = "failing-cases")]
    keep: PathBuf,
}

impl CommandArgs {
    /// Whether a program is to be judged.
    pub(crate) fn is_given(&self) -> bool {
        self.command.is_some() || self.onnx.is_some()
    }

    /// Judges the program, if one is given, in each number type that it has.
    ///
    /// # Errors
    /// The program cannot be started or says nothing that can be understood; a failing case cannot be written.
    pub(crate) fn judge(&self, options: &Options, seed: u64) -> Result<Option<Vec<Report>>, Error> {
        let Some((option, program)) = self.program()? else { return Ok(None) };
        let hello = program.hello()?;
        let cells = if self.cell.is_empty() { hello.cells.clone() } else { self.cell.clone() };
        if let Some(cell) = cells.iter().find(|cell| !hello.cells.contains(cell)) {
            let known: Vec<String> = hello.cells.iter().map(Cell::to_string).collect();
            let expected = format!("{} (those of the program)", known.join(", "));
            return Err(Error::unsupported("cell", expected, cell.to_string()));
        }
        if self.arithmetic.is_some() && !hello.numbers.iter().any(|number| number == "f32") {
            return Err(Error::unsupported("arithmetic", "a program with numbers of f32", "f64 alone"));
        }
        let program = Arc::new(Judged { program, hello });
        let mut reports = Vec::new();
        for number in &program.hello.numbers {
            let mut options = options.clone().cells(&cells).repeatable(!self.unrepeatable);
            options = options.subnormals(!self.flush_subnormals);
            options = options.again(self.again(&option));
            let judged = program.clone();
            match number.as_str() {
                "f32" => {
                    let options = options.arithmetic(self.arithmetic);
                    let (report, failing) = check_kernel::<f32>(Box::new(Shared(judged)), &options)?;
                    reports.push(report);
                    self.keep(&program, seed, failing)?;
                }
                _ if self.arithmetic.is_some() => {}
                _ => {
                    let (report, failing) = check_kernel::<f64>(Box::new(Shared(judged)), &options)?;
                    reports.push(report);
                    self.keep(&program, seed, failing)?;
                }
            }
        }
        Ok(Some(reports))
    }

    /// The program, if one is given, and the option that gave it.
    fn program(&self) -> Result<Option<(String, Program)>, Error> {
        let timeout = Duration::from_secs(self.timeout);
        if let Some(file) = &self.onnx {
            fs::File::open(file).map_err(|source| Error::Io {
                path: file.clone(),
                action: "read",
                source,
            })?;
            let words = ["python3", "-m", "elman.onnx_peer"].map(OsString::from).into_iter();
            let words = words.chain([file.clone().into_os_string()]).collect();
            let expected =
                "an ONNX file with one RNN, GRU or LSTM node, and Python with elman, onnx and onnxruntime";
            let program = Program::new(words, expected, timeout)?;
            return Ok(Some((format!("--onnx {}", quoted(&file.to_string_lossy())), program)));
        }
        let Some(command) = &self.command else { return Ok(None) };
        // A path with a blank is one word.
        let words = match (Path::new(command).is_file(), command.to_str()) {
            (false, Some(text)) => text.split_whitespace().map(OsString::from).collect(),
            _ => vec![command.clone()],
        };
        let expected = r#"an answer like {"name": "mine", "judge": {"cells": ["elman"], "numbers": ["f32"], "gradients": true}}"#;
        let program = Program::new(words, expected, timeout)?;
        Ok(Some((format!("--command {}", quoted(&command.to_string_lossy())), program)))
    }

    /// The line that runs a case again.
    fn again(&self, option: &str) -> String {
        let mut line = format!("elman verify {option}");
        for cell in &self.cell {
            line += &format!(" --cell {cell}");
        }
        if let Some(arithmetic) = self.arithmetic {
            line += &format!(" --arithmetic {}", arithmetic.name());
        }
        if self.unrepeatable {
            line += " --unrepeatable";
        }
        if self.flush_subnormals {
            line += " --flush-subnormals";
        }
        line + " --seed {seed} --case {case}"
    }

    /// Writes a failing case as files, and says how the program is asked by hand.
    fn keep<T: Float>(
        &self,
        program: &Judged,
        seed: u64,
        failing: Option<FailingCase<T>>,
    ) -> Result<(), Error> {
        let Some(failing) = failing else { return Ok(()) };
        let name = format!("{}-{}-seed-{seed}", failing.case.replace('/', "-"), T::NAME);
        let folder = self.keep.join(name);
        let io = |source| Error::Io { path: folder.clone(), action: "create", source };
        fs::create_dir_all(&folder).map_err(io)?;
        let folder = fs::canonicalize(&folder).map_err(io)?;
        let views = |arrays: &BTreeMap<String, ArrayD<f64>>| {
            encode::<f64>(
                &arrays.iter().map(|(name, array)| (name.as_str(), array.view())).collect::<Vec<_>>(),
                None,
            )
        };
        let given: Vec<_> = failing.given.iter().map(|(name, array)| (name.as_str(), array.view())).collect();
        let found: Vec<_> = failing.found.iter().map(|(name, array)| (name.as_str(), array.view())).collect();
        for (name, bytes) in [
            ("given", encode(&given, Some(&failing.lengths))),
            ("found", encode(&found, None)),
            ("expected", views(&failing.expected)),
            ("allowed", views(&failing.allowed)),
        ] {
            write_output(folder.join(name).with_extension("safetensors"), SAFETENSORS, &bytes)?;
        }
        let backward = failing.given.contains_key("dh");
        let request = request::<T>(failing.cell, backward, &folder);
        let file = folder.join("request.json");
        write_output(&file, REQUEST, format!("{request}\n").as_bytes())?;
        let words: Vec<String> =
            program.program.words.iter().map(|word| quoted(&word.to_string_lossy())).collect();
        note(&format!(
            "the smallest failing case ({}, {}) is in {}: given, found, expected and allowed, each a safetensors file\n\
             the program alone on it: {} < {}",
            failing.case,
            T::NAME,
            folder.display(),
            words.join(" "),
            quoted(&file.to_string_lossy())
        ));
        Ok(())
    }
}

/// A word as a POSIX shell reads it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=+:,@%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_string(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// The abilities that a program says it has.
#[derive(Debug)]
struct Hello {
    name: String,
    cells: Vec<Cell>,
    numbers: Vec<String>,
    gradients: bool,
    initial: bool,
}

/// A program, and what it can do.
struct Judged {
    program: Program,
    hello: Hello,
}

struct Shared(Arc<Judged>);

impl<T: Float> Kernel<T> for Shared {
    fn name(&self) -> String {
        self.0.hello.name.clone()
    }

    fn abilities(&self) -> Abilities {
        let Hello { gradients, initial, .. } = self.0.hello;
        Abilities { gradients, initial, threads: false }
    }

    fn call(&self, given: &Given<'_, T>) -> Result<Answer<T>, Trouble> {
        let program = &self.0.program;
        // One question at a time: the files are those of the last one.
        let mut process = lock(&program.process);
        let folder = program.folder.path();
        let answer = folder.join("answer.safetensors");
        let file = |action: &str, path: &Path, error: &dyn std::fmt::Display| {
            Trouble::new(format!("{action} {}: {error}", path.display()))
        };
        // An answer of the last question must not be taken for that of this one.
        match fs::remove_file(&answer) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(file("remove", &answer, &error));
            }
            _ => {}
        }
        let path = folder.join("given.safetensors");
        fs::write(&path, encode(&given.tensors, Some(given.lengths)))
            .map_err(|error| file("write", &path, &error))?;
        program.ask(&mut process, &request::<T>(given.cell, given.backward(), folder))?;
        decode(&answer)
    }
}

fn request<T: Float>(cell: Cell, backward: bool, folder: &Path) -> Value {
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    json!({
        "work": "judge",
        "cell": cell.to_string(),
        "number": T::NAME,
        "backward": backward,
        "file": path("given.safetensors"),
        "answer": path("answer.safetensors"),
    })
}

/// Arrays as a safetensors file, `lengths` as whole numbers of 64 bits.
fn encode<T: Float>(arrays: &[(&str, ArrayViewD<'_, T>)], lengths: Option<&[usize]>) -> Vec<u8> {
    let single = T::NAME == "f32";
    let mut buffers: Vec<(&str, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    for (name, array) in arrays {
        let bytes = match single {
            true => array.iter().flat_map(|v| (v.to_f64() as f32).to_le_bytes()).collect(),
            false => array.iter().flat_map(|v| v.to_f64().to_le_bytes()).collect(),
        };
        buffers.push((name, if single { Dtype::F32 } else { Dtype::F64 }, array.shape().to_vec(), bytes));
    }
    if let Some(lengths) = lengths {
        let bytes = lengths.iter().flat_map(|length| (*length as i64).to_le_bytes()).collect();
        buffers.push(("lengths", Dtype::I64, vec![lengths.len()], bytes));
    }
    let views = buffers.iter().map(|(name, dtype, shape, bytes)| {
        (*name, TensorView::new(*dtype, shape.clone(), bytes).expect("as many bytes as the shape has"))
    });
    safetensors::serialize(views, None).expect("names without repetition")
}

/// The arrays of an answer, each of type `T`.
fn decode<T: Float>(path: &Path) -> Result<Answer<T>, Trouble> {
    let trouble = |problem: String| Trouble::new(format!("the answer's file {}: {problem}", path.display()));
    let size = fs::metadata(path).map_err(|error| trouble(error.to_string()))?.len();
    if size > MAX_ANSWER {
        return Err(trouble(format!("{size} bytes, expected at most {MAX_ANSWER}")));
    }
    let bytes = fs::read(path).map_err(|error| trouble(error.to_string()))?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|error| trouble(error.to_string()))?;
    let expected = if T::NAME == "f32" { Dtype::F32 } else { Dtype::F64 };
    let mut answer = Answer::new();
    for (name, tensor) in tensors.tensors() {
        if tensor.dtype() != expected {
            return Err(trouble(format!("{name} is of type {:?}, expected {expected:?}", tensor.dtype())));
        }
        let data = tensor.data();
        let values: Vec<T> = match expected {
            Dtype::F32 => data
                .as_chunks::<4>()
                .0
                .iter()
                .map(|bytes| T::from_f64(f64::from(f32::from_le_bytes(*bytes))))
                .collect(),
            _ => {
                data.as_chunks::<8>().0.iter().map(|bytes| T::from_f64(f64::from_le_bytes(*bytes))).collect()
            }
        };
        let array =
            ArrayD::from_shape_vec(tensor.shape(), values).map_err(|error| trouble(error.to_string()))?;
        answer.insert(name, array);
    }
    Ok(answer)
}

/// A program that is asked over its standard input and output, a line of JSON each.
struct Program {
    words: Vec<OsString>,
    /// An answer to hello that can be understood.
    expected: &'static str,
    timeout: Duration,
    /// The arrays of a question and of its answer.
    folder: TempDir,
    process: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: Option<Process>,
    deaths: usize,
}

struct Process {
    child: Child,
    input: ChildStdin,
    answers: Receiver<io::Result<String>>,
    /// The end of what it wrote to its standard error.
    said: Arc<Mutex<VecDeque<u8>>>,
}

impl Drop for Process {
    fn drop(&mut self) {
        // That it has ended already is no failure.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Program {
    fn new(words: Vec<OsString>, expected: &'static str, timeout: Duration) -> Result<Self, Error> {
        let folder = tempfile::tempdir().map_err(|source| Error::Io {
            path: std::env::temp_dir(),
            action: "create a folder in",
            source,
        })?;
        if words.is_empty() {
            return Err(Error::unsupported("command", "a program", "none"));
        }
        Ok(Program { words, expected, timeout, folder, process: Mutex::default() })
    }

    fn hello(&self) -> Result<Hello, Error> {
        #[derive(Deserialize)]
        struct Says {
            name: Option<String>,
            judge: Works,
        }
        #[derive(Deserialize)]
        struct Works {
            cells: Vec<String>,
            numbers: Vec<String>,
            #[serde(default)]
            gradients: bool,
            #[serde(default)]
            initial: bool,
        }
        let program = self.words[0].to_string_lossy().into_owned();
        let wrong =
            |found: String| Error::unsupported(format!("{program}, asked hello"), self.expected, found);
        let answer = self.ask(&mut lock(&self.process), &json!({ "work": "hello" }));
        let answer = answer.map_err(|trouble| wrong(trouble.message))?;
        let Says { name, judge } =
            Says::deserialize(&answer).map_err(|error| wrong(format!("{answer} ({error})")))?;
        let cells: Vec<Cell> = judge.cells.iter().map(|name| name.parse()).collect::<Result<_, _>>()?;
        if let Some(other) = judge.numbers.iter().find(|number| !["f32", "f64"].contains(&number.as_str())) {
            return Err(Error::unsupported(format!("{program}'s numbers"), "f32 and f64", other.clone()));
        }
        if cells.is_empty() || judge.numbers.is_empty() {
            return Err(wrong(format!("no cell or no number type in {answer}")));
        }
        let name = name.unwrap_or(program) + if judge.gradients { "" } else { " (states alone)" };
        Ok(Hello { name, cells, numbers: judge.numbers, gradients: judge.gradients, initial: judge.initial })
    }

    /// One question, and its answer.
    fn ask(&self, state: &mut State, request: &Value) -> Result<Value, Trouble> {
        let process = match &mut state.running {
            Some(process) => process,
            none => none.insert(self.start()?),
        };
        let sent = writeln!(process.input, "{request}").and_then(|()| process.input.flush());
        let received = match sent {
            Ok(()) => process.answers.recv_timeout(self.timeout),
            Err(_) => Err(RecvTimeoutError::Disconnected),
        };
        let line = match received {
            Ok(Ok(line)) => line,
            Ok(Err(error)) => {
                state.running = None;
                return Err(Trouble::new(format!("its answer cannot be read: {error}")));
            }
            Err(RecvTimeoutError::Timeout) => {
                let message =
                    format!("no answer within {} seconds{}", self.timeout.as_secs(), process.last_words());
                state.running = None;
                return Err(Trouble { message, hopeless: true });
            }
            Err(RecvTimeoutError::Disconnected) => {
                state.deaths += 1;
                let hopeless = state.deaths >= DEATHS;
                let message = state.running.take().map_or_else(String::new, Process::ended);
                return Err(Trouble { message, hopeless });
            }
        };
        let answer: Value = serde_json::from_str(&line)
            .map_err(|_| Trouble::new(format!("its answer is {line:?}, expected one line of JSON")))?;
        match &answer {
            Value::Object(fields) => match fields.get("error") {
                None => Ok(answer),
                Some(error) => {
                    let error = error.as_str().map_or_else(|| error.to_string(), str::to_owned);
                    Err(Trouble::new(format!("its answer is the error: {error}")))
                }
            },
            other => Err(Trouble::new(format!("its answer is {other}, expected a JSON object"))),
        }
    }

    fn start(&self) -> Result<Process, Trouble> {
        let program = self.words[0].to_string_lossy();
        let started = Command::new(&self.words[0])
            .args(&self.words[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child =
            started.map_err(|error| Trouble::new(format!("{program} cannot be started: {error}")))?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(input), Some(output), Some(mut errors)) = pipes else {
            return Err(Trouble::new(format!("{program} has no standard input, output and error")));
        };
        let (sender, answers) = sync_channel(1);
        thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let said = Arc::new(Mutex::new(VecDeque::new()));
        let keep = said.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = errors.read(&mut buffer) {
                let mut said = lock(&keep);
                said.extend(&buffer[..count]);
                let beyond = said.len().saturating_sub(2000);
                said.drain(..beyond);
            }
        });
        Ok(Process { child, input, answers, said })
    }
}

impl Process {
    /// The end of what it wrote to its standard error.
    fn last_words(&self) -> String {
        let bytes: Vec<u8> = lock(&self.said).iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        match lines.len() {
            0 => String::new(),
            count => {
                format!("; the end of its standard error: {}", lines[count.saturating_sub(3)..].join(" / "))
            }
        }
    }

    /// How it ended.
    fn ended(mut self) -> String {
        let status = self.child.wait();
        // Its last words are on their way through the pipe.
        thread::sleep(Duration::from_millis(50));
        let words = self.last_words();
        match status {
            Ok(status) => format!("it ended without an answer ({status}){words}"),
            Err(error) => format!("it ended without an answer ({error}){words}"),
        }
    }
}
