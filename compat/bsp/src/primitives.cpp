/// The functions of bsp.h.
#define P2PDVM_BSP_NO_PLACES
#include "program.hpp"

#include <bsp.h>

#include <fmt/core.h>

#include <climits>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <exception>
#include <utility>

#define P2PDVM_BSP_FUNCTION extern "C" __attribute__((visibility("default")))

extern "C" {
__attribute__((visibility("default"))) p2pdvm_bsp_place p2pdvm_bsp_here = {nullptr, 0};
}

namespace p2pdvm::c_bsp {

namespace {

/// Of calls that stand among the arguments of others.
const place nowhere{"", 0};

/// Of the call that is being done. It is said once: another call may not know its own.
place take_place() {
  const p2pdvm_bsp_place said = std::exchange(p2pdvm_bsp_here, p2pdvm_bsp_place{nullptr, 0});
  return {said.file == nullptr ? "" : said.file, said.line};
}

/// Calls `body`; what it throws ends the program with a sentence.
template <class F>
auto call_at(const place& where, const char* name, F&& body) {
  try {
    return body(where);
  } catch (const std::exception& e) {
    const std::string who = here().begun() ? fmt::format("rank {}: ", here().pid()) : std::string();
    const std::string at = *where.file == '\0' ? std::string() : fmt::format(" ({}:{})", peal::file_part(where.file), where.line);
    here().abort(fmt::format("{}{}{}: {}", who, name, at, compat::sentence_of(e)));
  }
}

template <class F>
auto call(const char* name, F&& body) {
  return call_at(take_place(), name, std::forward<F>(body));
}

int as_int(std::size_t value, const char* instead) {
  if (value > INT_MAX) refuse(fmt::format("{} does not fit an int; {} gives it", value, instead));
  return static_cast<int>(value);
}

}  // namespace

}  // namespace p2pdvm::c_bsp

using namespace p2pdvm::c_bsp;

P2PDVM_BSP_FUNCTION void bsp_init(void (*spmd)(void), int, char**) {
  call("bsp_init", [&](const place& where) { here().init(spmd, where); });
}

P2PDVM_BSP_FUNCTION void bsp_begin(int maxprocs) {
  call("bsp_begin", [&](const place& where) { here().begin(maxprocs, where); });
}

P2PDVM_BSP_FUNCTION void bsp_end(void) {
  call("bsp_end", [](const place& where) { here().end(where); });
}

P2PDVM_BSP_FUNCTION void bsp_abort(const char* format, ...) {
  std::string text(4096, '\0');
  va_list values;
  va_start(values, format);
  const int length = std::vsnprintf(text.data(), text.size(), format, values);
  va_end(values);
  text.resize(length < 0 ? 0 : std::min(static_cast<std::size_t>(length), text.size() - 1));
  while (!text.empty() && text.back() == '\n') text.pop_back();
  here().abort(text);
}

P2PDVM_BSP_FUNCTION int bsp_nprocs(void) {
  return call_at(nowhere, "bsp_nprocs", [](const place&) { return here().processes(); });
}

P2PDVM_BSP_FUNCTION int bsp_pid(void) {
  return call_at(nowhere, "bsp_pid", [](const place&) { return here().pid(); });
}

P2PDVM_BSP_FUNCTION double bsp_time(void) { return here().seconds(); }

P2PDVM_BSP_FUNCTION void bsp_sync(void) {
  call("bsp_sync", [](const place& where) { here().sync(where); });
}

P2PDVM_BSP_FUNCTION void bsp_push_reg(const void* ident, size_t nbytes) {
  call("bsp_push_reg", [&](const place&) { here().push(ident, nbytes); });
}

P2PDVM_BSP_FUNCTION void bsp_pop_reg(const void* ident) {
  call("bsp_pop_reg", [&](const place&) { here().pop(ident); });
}

P2PDVM_BSP_FUNCTION void bsp_put(int pid, const void* src, void* dst, size_t offset, size_t nbytes) {
  call("bsp_put", [&](const place& where) { here().put(pid, src, dst, offset, nbytes, where); });
}

P2PDVM_BSP_FUNCTION void bsp_hpput(int pid, const void* src, void* dst, size_t offset, size_t nbytes) {
  call("bsp_hpput", [&](const place& where) { here().put(pid, src, dst, offset, nbytes, where); });
}

P2PDVM_BSP_FUNCTION void bsp_get(int pid, const void* src, size_t offset, void* dst, size_t nbytes) {
  call("bsp_get", [&](const place& where) { here().get(pid, src, offset, dst, nbytes, where); });
}

P2PDVM_BSP_FUNCTION void bsp_hpget(int pid, const void* src, size_t offset, void* dst, size_t nbytes) {
  call("bsp_hpget", [&](const place& where) { here().get(pid, src, offset, dst, nbytes, where); });
}

P2PDVM_BSP_FUNCTION void bsp_set_tagsize(int* tag_nbytes) {
  call("bsp_set_tagsize", [&](const place&) {
    const auto bytes = static_cast<std::size_t>(static_cast<std::ptrdiff_t>(*tag_nbytes));
    *tag_nbytes = as_int(here().set_tag_bytes(bytes), "bsp_set_tagsize_c");
  });
}

P2PDVM_BSP_FUNCTION void bsp_set_tagsize_c(size_t* tag_nbytes) {
  call("bsp_set_tagsize_c", [&](const place&) { *tag_nbytes = here().set_tag_bytes(*tag_nbytes); });
}

P2PDVM_BSP_FUNCTION void bsp_send(int pid, const void* tag, const void* payload, size_t payload_nbytes) {
  call("bsp_send", [&](const place& where) { here().send(pid, tag, payload, payload_nbytes, where); });
}

P2PDVM_BSP_FUNCTION void bsp_qsize(int* nmessages, int* accum_nbytes) {
  call("bsp_qsize", [&](const place&) {
    const program::queue_size q = here().queued();
    *nmessages = as_int(q.messages, "bsp_qsize_c");
    if (accum_nbytes != nullptr) *accum_nbytes = as_int(q.bytes, "bsp_qsize_c");
  });
}

P2PDVM_BSP_FUNCTION void bsp_qsize_c(size_t* nmessages, size_t* accum_nbytes) {
  call("bsp_qsize_c", [&](const place&) {
    const program::queue_size q = here().queued();
    *nmessages = q.messages;
    if (accum_nbytes != nullptr) *accum_nbytes = q.bytes;
  });
}

P2PDVM_BSP_FUNCTION void bsp_get_tag_c(ptrdiff_t* status, void* tag) {
  call("bsp_get_tag_c", [&](const place&) {
    const auto m = here().front();
    *status = m ? static_cast<ptrdiff_t>(m->bytes) : -1;
    if (m && m->tag_bytes > 0) std::memcpy(tag, m->tag, m->tag_bytes);
  });
}

P2PDVM_BSP_FUNCTION void bsp_get_tag(int* status, void* tag) {
  call("bsp_get_tag", [&](const place&) {
    const auto m = here().front();
    *status = m ? as_int(m->bytes, "bsp_get_tag_c") : -1;
    if (m && m->tag_bytes > 0) std::memcpy(tag, m->tag, m->tag_bytes);
  });
}

P2PDVM_BSP_FUNCTION void bsp_move(void* payload, size_t reception_nbytes) {
  call("bsp_move", [&](const place&) {
    const auto m = here().front();
    if (!m) refuse("there is no message");
    if (reception_nbytes > static_cast<std::size_t>(PTRDIFF_MAX)) refuse("the size is negative");
    if (const std::size_t bytes = std::min(m->bytes, reception_nbytes); bytes > 0) std::memcpy(payload, m->data, bytes);
    here().remove_front();
  });
}

P2PDVM_BSP_FUNCTION long bsp_hpmove(void** tag_ptr, void** payload_ptr) {
  return call("bsp_hpmove", [&](const place&) -> long {
    const auto m = here().front();
    if (!m) return -1;
    *tag_ptr = here().aligned(m->tag, m->tag_bytes);
    *payload_ptr = here().aligned(m->data, m->bytes);
    here().remove_front();
    return static_cast<long>(m->bytes);
  });
}
