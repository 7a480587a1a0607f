//! `sphere crd`: what the API server has to know of our resource.

use super::{CliError, print, print_json};
use clap::{Args, ValueEnum};

/// Print the definition of the PredictiveAutoscaler, for `kubectl apply`.
///
/// Schema, defaults and rules are those of this program: apply it again with every new version, before the new version runs.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sphere crd | kubectl apply --server-side -f -")]
pub struct CrdArgs {
    /// How to print
    #[arg(long, value_enum, default_value_t = Form::Yaml)]
    output: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people and kubectl.
    Yaml,
    /// For programs.
    Json,
}

/// Prints the definition.
pub fn run(args: &CrdArgs) -> Result<(), CliError> {
    match args.output {
        Form::Yaml => print(&sphere_kubernetes::api::crd_yaml()),
        Form::Json => {
            let definition = sphere_kubernetes::api::crd();
            print_json(&serde_json::to_value(&definition).map_err(|e| CliError::Failed(e.into()))?)
        }
    }
}
