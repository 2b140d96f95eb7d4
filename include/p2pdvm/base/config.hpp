/// Build configuration: how function bodies in `impl/*.ipp` are linked.
#pragma once

#include <version>

/// Put before every non-template function defined in an `.ipp` file. In the
/// compiled library it is empty; in the header-only form it is `inline`.
#if defined(P2PDVM_HEADER_ONLY)
#define P2PDVM_DECL inline
#else
#define P2PDVM_DECL
#endif

#define P2PDVM_VERSION_MAJOR 0
#define P2PDVM_VERSION_MINOR 1
#define P2PDVM_VERSION_PATCH 0
#define P2PDVM_VERSION_STRING "0.1.0"
