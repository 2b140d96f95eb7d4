#pragma once

#include <p2pdvm/base/assert.hpp>
#include <p2pdvm/peal/output.hpp>
#include <p2pdvm/peal/rank.hpp>

#include <algorithm>
#include <cstring>
#include <tuple>
#include <utility>

namespace p2pdvm::peal {

P2PDVM_DECL bool output_log::append(std::uint64_t step, byte_view bytes) {
  if (bytes.empty()) return true;
  const bool new_step = open_.empty() || open_.back().step != step;
  const std::size_t head = new_step ? output_frame::head_bytes : 0;
  if (bytes.size() + head > limits::output_bytes_max - bytes_) return false;
  if (new_step) open_.push_back({step, {}});
  p2pdvm::append(open_.back().bytes, bytes);
  bytes_ += bytes.size() + head;
  return true;
}

P2PDVM_DECL void output_log::write(byte_view bytes) {
  while (!bytes.empty()) {
    const std::size_t part = std::min(bytes.size(), limits::chunk_bytes - tail_.size());
    p2pdvm::append(tail_, bytes.first(part));
    bytes = bytes.subspan(part);
    if (tail_.size() < limits::chunk_bytes) continue;
    full_.push_back(payload::copy_of(tail_));
    tail_.clear();
  }
}

/// An epoch that is given up leaves what it said of `after` true: what it cut was written after the same commit.
P2PDVM_DECL std::vector<payload> output_log::cut(epoch_number committed, std::optional<std::uint64_t> last_step) {
  for (const step_bytes& s : std::exchange(open_, {})) {
    byte_vector frame;
    append_output_frame(frame, {s.step == last_step ? at_the_end : committed, s.step, s.bytes});
    write(frame);
  }
  std::vector<payload> parts = full_;
  if (!tail_.empty()) parts.push_back(payload::copy_of(tail_));
  return parts;
}

P2PDVM_DECL result<> output_log::restore(const payload_list& parts) {
  *this = output_log();
  const std::size_t all = parts.bytes();
  if (all > limits::output_bytes_max) return error(errc::corrupted, "what a rank wrote into an output is over its limit");
  for (const payload& p : parts) {
    for (std::size_t at = 0; at < p.size();) {
      const std::size_t part = std::min(p.size() - at, limits::chunk_bytes);
      const bool whole = tail_.empty() && part == limits::chunk_bytes;
      if (whole) {
        full_.push_back(p.slice(at, part));
        at += part;
        continue;
      }
      const std::size_t room = std::min(part, limits::chunk_bytes - tail_.size());
      write(p.view().subspan(at, room));
      at += room;
    }
  }
  bytes_ = all;
  return {};
}

P2PDVM_DECL void append_output_frame(byte_vector& log, const output_frame& frame) {
  const std::uint64_t after = frame.after.value();
  const auto size = static_cast<std::uint32_t>(frame.bytes.size());
  std::byte head[output_frame::head_bytes];
  std::memcpy(head, &after, 8);
  std::memcpy(head + 8, &frame.step, 8);
  std::memcpy(head + 16, &size, 4);
  append(log, head);
  append(log, frame.bytes);
}

P2PDVM_DECL result<std::vector<output_frame>> read_output_frames(byte_view log) {
  std::vector<output_frame> frames;
  while (!log.empty()) {
    std::uint64_t after = 0;
    std::uint32_t size = 0;
    output_frame f;
    if (log.size() >= output_frame::head_bytes) {
      std::memcpy(&after, log.data(), 8);
      std::memcpy(&f.step, log.data() + 8, 8);
      std::memcpy(&size, log.data() + 16, 4);
    }
    if (size == 0 || size > log.size() - output_frame::head_bytes)
      return error(errc::corrupted, "what a rank wrote into an output does not read");
    f.after = epoch_number(after);
    f.bytes = log.subspan(output_frame::head_bytes, size);
    log = log.subspan(output_frame::head_bytes + size);
    frames.push_back(f);
  }
  return frames;
}

P2PDVM_DECL byte_vector merge_output(const std::vector<std::vector<output_frame>>& parts) {
  std::vector<std::pair<const output_frame*, std::size_t>> all;  // with their places in rank order
  std::size_t bytes = 0;
  for (const auto& part : parts) {
    for (const output_frame& f : part) {
      all.emplace_back(&f, all.size());
      bytes += f.bytes.size();
    }
  }
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) {
    return std::tie(a.first->after, a.first->step, a.second) < std::tie(b.first->after, b.first->step, b.second);
  });
  byte_vector merged;
  merged.reserve(bytes);
  for (const auto& [f, place] : all) append(merged, f->bytes);
  return merged;
}

P2PDVM_DECL void output::write(byte_view bytes) {
  rank_->check_may_write(name_);
  if (log_->append(rank_->safe_points(), bytes)) return;
  throw std::system_error(make_error_code(errc::too_large),
                          "rank " + std::to_string(rank_->id()) + " has written " + "more than " +
                              std::to_string(limits::output_bytes_max >> 20) + " MiB into its output '" + std::string(name_) +
                              "', which is the most that checkpoints can carry");
}

}  // namespace p2pdvm::peal
