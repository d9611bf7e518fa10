use elman::{Error, Network, Recurrence};
use elman_fast::{Fast, Isa};
use elman_reference::Reference;

/// An implementation of the network and of its recurrence.
pub struct Kernel {
    /// Its name, for example `reference`.
    pub name: String,
    /// The network.
    pub network: Box<dyn Network<f32>>,
    /// The recurrence alone.
    pub recurrence: Box<dyn Recurrence<f32>>,
}

impl Kernel {
    fn new(implementation: impl Network<f32> + Recurrence<f32> + Clone + 'static) -> Self {
        Kernel {
            name: implementation.name(),
            network: Box::new(implementation.clone()),
            recurrence: Box::new(implementation),
        }
    }
}

/// Every implementation that this CPU can run, the fastest last. A new one is added here and nowhere else.
pub fn kernels() -> Vec<Kernel> {
    let fast = Isa::available().into_iter().filter_map(|isa| Fast::with(isa).ok());
    std::iter::once(Kernel::new(Reference::new())).chain(fast.map(Kernel::new)).collect()
}

/// The implementation of that name.
///
/// # Errors
/// [`Error::Unsupported`] names those there are.
pub fn kernel(name: &str) -> Result<Kernel, Error> {
    let mut names = Vec::new();
    for kernel in kernels() {
        if kernel.name == name {
            return Ok(kernel);
        }
        names.push(kernel.name);
    }
    Err(Error::unsupported("kernel", names.join(", "), name))
}
