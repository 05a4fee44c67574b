//! One route of the dialect.

use axum::routing::MethodRouter;

use crate::management::App;

/// What calls an operation, and what does it.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) method: &'static str,
    /// Below the prefix; ids in it stand in braces, by their names.
    pub(super) path: &'static str,
    /// What the dialect's description calls it.
    pub(super) name: &'static str,
    pub(super) handler: fn() -> MethodRouter<App>,
}

/// Makes the table of routes, `ROUTES`.
macro_rules! routes {
    ($($method:ident $path:literal $name:literal $handler:path;)*) => {
        static ROUTES: &[route::Route] = &[$(
            route::Route {
                method: stringify!($method),
                path: $path,
                name: $name,
                handler: || axum::routing::on(axum::routing::MethodFilter::$method, $handler),
            }
        ),*];
    };
}

pub(super) use routes;
