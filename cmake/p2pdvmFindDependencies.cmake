# Finds Asio, cereal, fmt, libsodium, xxHash, Zstandard, CLI11 and OpenSSL and bundles them as p2pdvm_dependencies.
# Used by the build and by the installed package. What is missing is said by message(severity)
# and left in p2pdvm_explanation, which is empty when everything is there. OpenSSL 3 seals large
# records faster: P2PDVM_WITH_OPENSSL says AUTO (where it is there), ON or OFF; what came of it is
# in p2pdvm_openssl, ON or OFF.
macro(p2pdvm_find_dependencies severity)
  find_package(Threads QUIET)
  find_path(P2PDVM_ASIO_INCLUDE asio.hpp)
  find_path(P2PDVM_CEREAL_INCLUDE cereal/cereal.hpp)
  find_path(P2PDVM_SODIUM_INCLUDE sodium.h)
  find_library(P2PDVM_SODIUM_LIBRARY sodium)
  find_path(P2PDVM_XXHASH_INCLUDE xxhash.h)
  find_path(P2PDVM_ZSTD_INCLUDE zstd.h)
  find_library(P2PDVM_ZSTD_LIBRARY zstd)
  find_path(P2PDVM_CLI11_INCLUDE CLI/CLI.hpp)
  find_package(fmt QUIET)
  set(p2pdvm_openssl OFF)
  if(NOT P2PDVM_WITH_OPENSSL STREQUAL "OFF")
    find_package(OpenSSL 3.0 QUIET COMPONENTS Crypto)
    if(TARGET OpenSSL::Crypto AND OPENSSL_VERSION VERSION_GREATER_EQUAL 3.0)
      set(p2pdvm_openssl ON)
    endif()
  endif()
  set(p2pdvm_missing "")
  if(NOT Threads_FOUND)
    list(APPEND p2pdvm_missing "a C++ compiler with threads")
  endif()
  if(NOT P2PDVM_ASIO_INCLUDE)
    list(APPEND p2pdvm_missing "Asio")
  endif()
  if(NOT P2PDVM_CEREAL_INCLUDE)
    list(APPEND p2pdvm_missing "cereal")
  endif()
  if(NOT P2PDVM_SODIUM_INCLUDE OR NOT P2PDVM_SODIUM_LIBRARY)
    list(APPEND p2pdvm_missing "libsodium")
  endif()
  if(NOT P2PDVM_XXHASH_INCLUDE)
    list(APPEND p2pdvm_missing "xxHash")
  endif()
  if(NOT P2PDVM_ZSTD_INCLUDE OR NOT P2PDVM_ZSTD_LIBRARY)
    list(APPEND p2pdvm_missing "Zstandard")
  endif()
  if(NOT P2PDVM_CLI11_INCLUDE)
    list(APPEND p2pdvm_missing "CLI11")
  endif()
  if(NOT fmt_FOUND)
    list(APPEND p2pdvm_missing "fmt")
  endif()
  if(P2PDVM_WITH_OPENSSL STREQUAL "ON" AND NOT p2pdvm_openssl)
    list(APPEND p2pdvm_missing "OpenSSL 3 (P2PDVM_WITH_OPENSSL is ON)")
  endif()
  set(p2pdvm_explanation "")
  if(p2pdvm_missing)
    list(JOIN p2pdvm_missing ", " p2pdvm_missing)
    string(CONCAT p2pdvm_explanation
      "p2pdvm needs ${p2pdvm_missing}. Install what is missing:\n"
      "  Debian, Ubuntu: apt install libasio-dev libcereal-dev libfmt-dev libsodium-dev libxxhash-dev libzstd-dev libcli11-dev libssl-dev\n"
      "  Fedora:         dnf install asio-devel cereal-devel fmt-devel libsodium-devel xxhash-devel libzstd-devel cli11-devel openssl-devel\n"
      "  Homebrew:       brew install asio cereal fmt libsodium xxhash zstd cli11 openssl@3\n"
      "OpenSSL may be left out: large messages are then sealed more slowly.")
    message(${severity} "${p2pdvm_explanation}")
  elseif(NOT TARGET p2pdvm_dependencies)
    # Imported, because an installed p2pdvm finds its own; global, for add_subdirectory.
    add_library(p2pdvm_dependencies INTERFACE IMPORTED GLOBAL)
    target_include_directories(p2pdvm_dependencies INTERFACE
      ${P2PDVM_ASIO_INCLUDE} ${P2PDVM_CEREAL_INCLUDE} ${P2PDVM_SODIUM_INCLUDE}
      ${P2PDVM_XXHASH_INCLUDE} ${P2PDVM_ZSTD_INCLUDE} ${P2PDVM_CLI11_INCLUDE})
    target_link_libraries(p2pdvm_dependencies INTERFACE Threads::Threads fmt::fmt
      ${P2PDVM_SODIUM_LIBRARY} ${P2PDVM_ZSTD_LIBRARY})
    if(p2pdvm_openssl)
      target_link_libraries(p2pdvm_dependencies INTERFACE OpenSSL::Crypto)
      target_compile_definitions(p2pdvm_dependencies INTERFACE P2PDVM_WITH_OPENSSL=1)
    endif()
    # Same floating-point results from every compiler and at every optimisation level.
    target_compile_options(p2pdvm_dependencies INTERFACE -ffp-contract=off)
    # Asio finds out about aligned_alloc only if a standard header came before it: without this,
    # one file frees what another one allocated otherwise.
    target_compile_definitions(p2pdvm_dependencies INTERFACE ASIO_NO_DEPRECATED=1
      ASIO_HAS_STD_ALIGNED_ALLOC=1
      $<$<CXX_COMPILER_ID:Clang,AppleClang>:ASIO_HAS_CO_AWAIT=1>)
  endif()
endmacro()
