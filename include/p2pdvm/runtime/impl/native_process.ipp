#pragma once

#include <p2pdvm/base/byte_size.hpp>
#include <p2pdvm/host/native/folder_lock.hpp>
#include <p2pdvm/host/native/machine.hpp>
#include <p2pdvm/runtime/local_profile.hpp>
#include <p2pdvm/runtime/native_driver.hpp>
#include <p2pdvm/runtime/native_files.hpp>
#include <p2pdvm/runtime/native_process.hpp>
#include <p2pdvm/runtime/output_files.hpp>
#include <p2pdvm/runtime/peer.hpp>
#include <p2pdvm/runtime/reporter.hpp>

#include <asio/signal_set.hpp>
#include <asio/steady_timer.hpp>
#include <fmt/core.h>

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <mutex>

namespace p2pdvm::runtime {

namespace detail {

inline result<byte_vector> read_file(const std::string& path, std::size_t bytes_max) {
  std::error_code ec;
  if (std::filesystem::is_directory(path, ec))
    return error(errc::io, "'" + path + "' is a folder, not a file");
  std::ifstream in(path, std::ios::binary);
  if (!in) return error(errc::io, "cannot read '" + path + "': " + std::strerror(errno));
  byte_vector bytes;
  char block[1 << 16];
  while (in.read(block, sizeof block) || in.gcount() > 0) {
    append(bytes, std::as_bytes(std::span(block, static_cast<std::size_t>(in.gcount()))));
    if (bytes.size() > bytes_max) return error(errc::too_large, "'" + path + "' is too large");
  }
  return bytes;
}

/// SIGKILL to this very process at the n-th event of a kind, for tests of recovery: the value of
/// P2PDVM_DIE_AT is EVENT:N, or EVENT:N:PEER for one child of `--local` alone, since all of them
/// inherit it. It dies as if by kill -9 from outside, at a place that a test chose.
class death_wish {
 public:
  explicit death_wish(int local_index) {
    const char* text = std::getenv("P2PDVM_DIE_AT");
    if (text == nullptr) return;
    const std::string value(text);
    const auto colon = value.find(':');
    const auto second = colon == std::string::npos ? colon : value.find(':', colon + 1);
    if (second != std::string::npos && std::atoi(value.c_str() + second + 1) != local_index) return;
    name_ = value.substr(0, colon);
    left_ = colon == std::string::npos ? 1 : std::atoi(value.c_str() + colon + 1);
  }
  void on_event(const event& e) {
    if (left_ > 0 && name_of(e.kind) == name_ && --left_ == 0) ::kill(::getpid(), SIGKILL);
  }

 private:
  std::string name_;
  int left_ = 0;
};

/// Where a child of `--local` reports to.
class event_pipe {
 public:
  explicit event_pipe(int fd) : fd_(fd) {}
  void write(const event& e) {
    if (fd_ < 0) return;
    byte_vector frame(4);
    append(frame, wire::encode(e));
    const auto size = static_cast<std::uint32_t>(frame.size() - 4);
    std::memcpy(frame.data(), &size, 4);
    const std::byte* at = frame.data();
    std::size_t left = frame.size();
    while (left > 0) {
      const ssize_t n = ::write(fd_, at, left);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return;  // the parent is gone; PR_SET_PDEATHSIG ends this process
      at += n;
      left -= static_cast<std::size_t>(n);
    }
  }

 private:
  int fd_;
};

/// A child of `--local --profile`.
struct far_machine {
  far_machine(host::machine& real, const command_line& how)
      : places(*sim::latency_profile_of(how.profile), how.seed, static_cast<std::uint32_t>(how.local_index)),
        network(real.network(), real.clock(), [this](const address& a) { return places.to(a); },
                how.seed + static_cast<std::uint64_t>(how.local_index) * 0x9e3779b97f4a7c15ull),
        machine(real, network) {}
  local_profile places;
  host::delayed_network network;
  host::machine_with_network machine;
};

inline peer_setting setting_of(const command_line& how) {
  peer_setting s;
  s.checkpoint_interval = how.checkpoint_interval();
  s.hang_after = how.hang_patience();
  if (how.quota) s.store_bytes_max = *how.quota;
  if (how.memory_quota) s.memory_bytes_max = *how.memory_quota;
  s.upload_rate = how.upload_rate;
  s.storage_only = how.without_ranks;
  s.platform = platform_probe();
  if (!how.listen.empty()) {
    s.listen = *address::parse(how.listen);
  } else if (how.host || !how.join.empty() || how.without_ranks) {
    s.listen = address::v4(0, 0, 0, 0, 0);
  }
  s.failure_domain = how.local_index >= 0 ? "process " + std::to_string(how.local_index) : machine_name();
  const bool near = how.local_index >= 0 && how.profile.empty();
  s.detector = near ? overlay::detector_options::local() : overlay::detector_options::wan();
  return s;
}

/// What this process was asked to do first.
inline result<> begin_job(peer& p, const command_line& how) {
  if (how.resume) return p.resume();
  if (!how.join.empty()) {
    auto with = ticket::parse(how.join);
    if (!with.ok()) return with.error();
    return p.join(*with);
  }
  peer::job_request request;
  request.ranks = how.ranks;
  request.peers = how.host ? std::max(how.peers, 1u) : 1;
  request.replicas = how.replicas;
  request.receipts = how.receipts == "memory" ? receipts_from::memory : receipts_from::disk;
  request.options = how.program_options;
  auto inputs = read_inputs(how.inputs);
  if (!inputs.ok()) return inputs.error();
  request.inputs = std::move(*inputs);
  return p.make_job(std::move(request));
}

}  // namespace detail

P2PDVM_DECL result<digest256> executable_digest() {
  auto bytes = detail::read_file("/proc/self/exe", std::size_t{1} << 32);
  if (!bytes.ok()) return bytes.error();
  return crypto::hash(*bytes);
}

P2PDVM_DECL result<std::map<std::string, byte_vector>> read_inputs(
    const std::map<std::string, std::string>& files) {
  std::map<std::string, byte_vector> inputs;
  for (const auto& [name, path] : files) {
    auto bytes = detail::read_file(path, limits::input_bytes_max);
    if (!bytes.ok()) return error(bytes.error().code(), "--" + name + ": " + bytes.error().message());
    inputs[name] = std::move(*bytes);
  }
  return inputs;
}

P2PDVM_DECL result<> write_outputs(const std::map<std::string, std::string>& files,
                                   const std::map<std::string, byte_vector>& results) {
  for (const auto& [name, path] : files) {
    const auto found = results.find(name);
    if (found == results.end()) continue;
    const std::string temporary = path + ".part-" + std::to_string(::getpid());
    std::ofstream out(temporary, std::ios::binary | std::ios::trunc);
    out.write(reinterpret_cast<const char*>(found->second.data()), std::ssize(found->second));
    out.close();
    if (!out || ::rename(temporary.c_str(), path.c_str()) != 0) {
      const int why = errno;
      ::unlink(temporary.c_str());
      return error(errc::io, "--" + name + ": cannot write '" + path + "': " + std::strerror(why));
    }
  }
  return {};
}

P2PDVM_DECL int run_peer(const peal::program& program, const command_line& how) {
  if (how.local_index >= 0) ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const bool child = how.event_fd >= 0;
  reporter report({how.quiet || child, how.json && !child, child ? std::string() : how.trace, false, how.explain});
  const auto fail = [&](const std::string& sentence) {
    report.finish();
    if (!child) fmt::print(stderr, "{}: {}\n", program.name(), sentence);
    return 1;
  };
  detail::event_pipe pipe(how.event_fd);
  detail::death_wish death(how.local_index);
  peer_setting setting = detail::setting_of(how);
  if (!how.without_ranks) {
    auto executable = executable_digest();
    if (!executable.ok()) return fail(executable.error().message());
    setting.executable = *executable;
  }
  setting.shared_memory = how.shared_memory == "on";
  if (how.compression == "off") setting.compression = store::compression::off;
  output_files outputs(how.outputs);
  if (!how.outputs.empty()) setting.outputs = &outputs;

  const std::string folder = how.data.empty() ? default_data_folder(program.name()) : how.data;
  native::folder_lock lock;
  if (auto taken = lock.take(folder); !taken.ok()) {
    event e;
    e.kind = event_kind::failed;
    e.text = taken.error().message();
    pipe.write(e);
    return fail(e.text);
  }

  asio::io_context io;
  queue_context ranks;
  driver_token token;
  native::machine real_machine(io, {folder});
  std::optional<detail::far_machine> far;
  if (!how.profile.empty()) far.emplace(real_machine, how);
  host::machine& machine = far ? far->machine : static_cast<host::machine&>(real_machine);
  native_driver::options threads;
  threads.threads = how.threads;
  threads.polled = &real_machine.polled();
  threads.helped = real_machine.workers();
  native_driver driver(io, ranks, token, threads);

  std::optional<result<job_results>> outcome;
  bool stopped = false;
  peer::callbacks call;
  call.event = [&](const event& e) {
    report.on_event(e, std::max(how.local_index, 0));
    pipe.write(e);
    death.on_event(e);
  };
  call.ended = [&](const result<job_results>& r) { outcome = r; };
  call.may_go = [&] { driver.stop(); };
  std::optional<peer> p;
  std::optional<asio::steady_timer> tick;
  asio::signal_set signals(io, SIGINT, SIGTERM);
  {
    const std::lock_guard held(token);
    p.emplace(machine, ranks, token, program, setting, call);
    auto begun = p->open();
    if (begun.ok()) begun = detail::begin_job(*p, how);
    if (!begun.ok()) {
      event e;
      e.kind = event_kind::failed;
      e.text = begun.error().message();
      pipe.write(e);
      p.reset();
      return fail(e.text);
    }
  }
  std::function<void()> wait_for_signal = [&] {
    signals.async_wait([&](const asio::error_code& ec, int which) {
      if (ec) return;
      if (std::exchange(stopped, true)) ::_exit(130);
      // Alone, or told to by the parent of `--local`: the whole job stops here. Who has no ranks stops nothing.
      const bool whole_job = which == SIGTERM || how.local_index >= 0 || p->swarm() == nullptr;
      if (whole_job && !how.without_ranks) {
        p->stop();
      } else {
        p->leave();
      }
      wait_for_signal();
    });
  };
  wait_for_signal();
  const auto began = machine.clock().now();
  tick.emplace(io);
  std::function<void()> show = [&] {
    tick->expires_after(std::chrono::milliseconds(500));
    tick->async_wait([&](const asio::error_code& ec) {
      if (ec) return;
      if (auto* j = p->current_job()) {
        const auto s = j->now();
        const std::string held_up = s.stalls.empty() ? std::string() : text_of(s.stalls.front());
        if (how.without_ranks) {
          const peer::holdings h = p->held();
          report.progress(fmt::format("holds {} of chunks, on disk {} of {} | {} peer{} | checkpoint {}", byte_size_text(h.chunk_bytes),
                                      byte_size_text(h.disk_bytes), byte_size_text(h.quota_bytes), s.live_peers,
                                      s.live_peers == 1 ? "" : "s", s.committed.value()));
        } else if (!child) {
          report.progress(s.ranks_here, s.live_peers, s.committed, s.safe_points,
                          to_seconds(machine.clock().now() - began), held_up);
        } else if (s.ranks_here > 0) {
          event e;
          e.kind = event_kind::progress;
          e.count = s.safe_points;
          e.text = held_up;
          pipe.write(e);
        }
      }
      show();
    });
  };
  show();

  driver.run();

  {
    const std::lock_guard held(token);
    if (how.without_ranks) call.event(p->holds_event());
    p.reset();
  }
  report.finish();
  if (!outcome) {
    if (!stopped) return fail("the peer stopped before the job ended");
    report.say("stopped after checkpoint " + std::to_string(report.committed().value()) +
               "; go on with --resume");
    return 130;
  }
  if (!outcome->ok()) return fail(outcome->error().message());
  auto written = write_outputs(how.outputs, **outcome);
  if (auto finished = outputs.finish(); written.ok()) written = finished;
  if (!written.ok()) {
    event e;
    e.kind = event_kind::failed;
    e.text = written.error().message();
    pipe.write(e);
    return fail(e.text);
  }
  if (!child && !how.json && !report.digest().empty()) fmt::print("digest: {}\n", report.digest());
  return 0;
}

}  // namespace p2pdvm::runtime
