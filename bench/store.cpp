/// store: chunks to disk against plain writes, and names of chunks against raw BLAKE2b.
#include "runs.hpp"
#include "suites.hpp"

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/crypto/crypto.hpp>
#include <p2pdvm/store/chunk.hpp>
#include <p2pdvm/store/segment_log.hpp>

#include <cstddef>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

namespace p2pdvm::bench {

namespace {

constexpr std::size_t chunk_bytes = 64 << 10;
constexpr std::size_t batch_chunks = 64;  ///< made durable together, as a drain does

measurement made(const char* metric, const char* system, std::size_t bytes, std::string_view unit,
                 double value) {
  measurement m;
  m.benchmark = "store";
  m.system = system;
  m.profile = "native";
  m.parameters["bytes"] = bytes;
  m.parameters["chunk_bytes"] = chunk_bytes;
  m.parameters["processes"] = 1;
  m.metric = metric;
  m.unit = unit;
  m.value = value;
  return m;
}

std::vector<byte_vector> random_chunks(std::size_t count) {
  random_generator random(1);
  std::vector<byte_vector> chunks(count, byte_vector(chunk_bytes));
  for (byte_vector& c : chunks) {
    for (std::byte& b : c) b = static_cast<std::byte>(random());
  }
  return chunks;
}

/// Calls `sync` of a log or a file and waits until it is durable.
template <class Syncs>
void make_durable(Syncs& what, asio::io_context& io) {
  std::optional<result<>> outcome;
  what.sync([&outcome](result<> r) { outcome = std::move(r); });
  while (!outcome) {
    io.restart();
    const auto work = asio::make_work_guard(io);
    io.run_one();
  }
  if (!outcome->ok()) throw std::runtime_error(outcome->error().message());
}

void check(const result<>& r) {
  if (!r.ok()) throw std::runtime_error(r.error().message());
}

double ingest_seconds(const std::vector<std::pair<chunk_id, payload>>& sealed) {
  const temporary_folder folder;
  asio::io_context io;
  native::machine machine(io, {folder.path()});
  auto opened = store::segment_log::open(machine.disk(), "chunks", {});
  if (!opened.ok()) throw std::runtime_error(opened.error().message());
  store::segment_log& log = **opened;
  const store::pin pin{job_id(), incarnation_number(1), epoch_number(1)};
  return time_of([&] {
    std::vector<chunk_id> batch;
    for (std::size_t i = 0; i < sealed.size(); ++i) {
      check(log.put_shared(sealed[i].first, sealed[i].second));
      batch.push_back(sealed[i].first);
      if (batch.size() < batch_chunks && i + 1 < sealed.size()) continue;
      check(log.add_pin(pin, batch));
      batch.clear();
      make_durable(log, io);
    }
  });
}

/// The same bytes through the same seam into one file.
double raw_seconds(const std::vector<std::pair<chunk_id, payload>>& sealed) {
  const temporary_folder folder;
  asio::io_context io;
  native::machine machine(io, {folder.path()});
  auto opened = machine.disk().open("raw", true);
  if (!opened.ok()) throw std::runtime_error(opened.error().message());
  host::file& file = **opened;
  return time_of([&] {
    std::uint64_t at = 0;
    for (std::size_t i = 0; i < sealed.size(); ++i) {
      check(file.write(at, sealed[i].second.view()));
      at += sealed[i].second.size();
      if ((i + 1) % batch_chunks == 0 || i + 1 == sealed.size()) make_durable(file, io);
    }
  });
}

}  // namespace

void run_store(const settings& how, report& out) {
  const std::size_t count = how.quick ? 4 : 1024;
  const int repetitions = how.quick ? 2 : 7;
  const std::size_t bytes = count * chunk_bytes;
  const std::vector<byte_vector> chunks = random_chunks(count);
  crypto::secret_key secret;
  const store::chunk_codec codec(secret);

  std::vector<double> named, hashed, sealing;
  std::vector<std::pair<chunk_id, payload>> sealed;
  for (int r = 0; r < repetitions; ++r) {
    std::vector<chunk_id> ids;
    std::vector<digest256> digests;
    named.push_back(time_of([&] {
      for (const byte_vector& c : chunks) ids.push_back(codec.id(c));
    }));
    hashed.push_back(time_of([&] {
      for (const byte_vector& c : chunks) digests.push_back(crypto::hash(c));
    }));
    sealed.clear();
    sealing.push_back(time_of([&] {
      for (std::size_t i = 0; i < count; ++i) sealed.emplace_back(ids[i], codec.seal(ids[i], chunks[i]));
    }));
  }
  const auto rate = [bytes](const std::vector<double>& times) {
    return static_cast<double>(bytes) / median(times);
  };
  out.add(made("chunk_id_rate", "p2pdvm", bytes, byte_rate_unit, rate(named)));
  out.add(made("chunk_id_rate", "BLAKE2b-256", bytes, byte_rate_unit, rate(hashed)));
  out.add(made("chunk_id_ratio", "p2pdvm", bytes, fraction_unit, rate(named) / rate(hashed)));
  out.add(made("seal_rate", "p2pdvm", bytes, byte_rate_unit, rate(sealing)));

  std::vector<double> ingested, written;
  for (int r = 0; r < repetitions; ++r) {
    ingested.push_back(ingest_seconds(sealed));
    written.push_back(raw_seconds(sealed));
  }
  out.add(made("ingest", "p2pdvm", bytes, byte_rate_unit, rate(ingested)));
  out.add(made("ingest", "write, fdatasync", bytes, byte_rate_unit, rate(written)));
  out.add(made("ingest_ratio", "p2pdvm", bytes, fraction_unit, rate(ingested) / rate(written)));
}

}  // namespace p2pdvm::bench
