//! One operation of the dialect, and how a request reaches it.

use std::pin::Pin;

use axum::extract::{Request, State};
use axum::routing::{MethodFilter, MethodRouter, on};
use http::Method;

use super::Error;
use super::call::{self, Call};
use super::envelope::Answer;
use crate::management::App;

/// Does an operation. It is called for a request and for an item of a bulk call alike.
pub(super) type Handler = fn(Call) -> Pin<Box<dyn Future<Output = Result<Answer, Error>> + Send>>;

/// One operation: what calls it, and what does it.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) method: Method,
    pub(super) filter: MethodFilter,
    /// Below the prefix; an id in it stands in braces, by its name.
    pub(super) path: &'static str,
    /// The `_type` of an item of a bulk call.
    pub(super) name: &'static str,
    pub(super) handler: Handler,
}

impl Operation {
    /// Whether it only reads: then its parameters are in the query, and an idempotency key has no effect.
    pub(super) fn reads(&self) -> bool {
        self.method == Method::GET
    }

    /// The name of the id in the path.
    pub(super) fn id_name(&self) -> Option<&'static str> {
        let (_, rest) = self.path.split_once('{')?;
        rest.split_once('}').map(|(name, _)| name)
    }

    pub(super) fn route(&'static self) -> MethodRouter<App> {
        on(self.filter, move |State(app): State<App>, request: Request| call::serve(app, self, request))
    }
}

/// Makes the table of operations, `OPERATIONS`.
macro_rules! operations {
    ($($method:ident $path:literal $name:literal $handler:path;)*) => {
        static OPERATIONS: &[operation::Operation] = &[$(
            operation::Operation {
                method: http::Method::$method,
                filter: axum::routing::MethodFilter::$method,
                path: $path,
                name: $name,
                handler: |call| Box::pin($handler(call)),
            }
        ),*];
    };
}

pub(super) use operations;
