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

/// Built with a sanitizer that follows each use of memory: GCC says so by a macro, Clang by a feature.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define P2PDVM_MEMORY_WATCHED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define P2PDVM_MEMORY_WATCHED 1
#endif
#endif

#define P2PDVM_VERSION_MAJOR 0
#define P2PDVM_VERSION_MINOR 1
#define P2PDVM_VERSION_PATCH 0
#define P2PDVM_VERSION_STRING "0.1.0"
