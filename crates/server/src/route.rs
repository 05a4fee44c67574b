//! One route of the management API, where its table says which handler answers it.

use axum::routing::MethodRouter;

use crate::management::App;

/// What calls an operation, and what does it.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) method: &'static str,
    /// Below the prefix; ids in it stand in braces, by their names.
    pub(crate) path: &'static str,
    /// What the description of the API calls it.
    pub(crate) name: &'static str,
    pub(crate) handler: fn() -> MethodRouter<App>,
}

/// Makes the table of routes, `ROUTES`.
macro_rules! routes {
    ($($method:ident $path:literal $name:literal $handler:path;)*) => {
        static ROUTES: &[$crate::route::Route] = &[$(
            $crate::route::Route {
                method: stringify!($method),
                path: $path,
                name: $name,
                handler: || axum::routing::on(axum::routing::MethodFilter::$method, $handler),
            }
        ),*];
    };
}

pub(crate) use routes;
