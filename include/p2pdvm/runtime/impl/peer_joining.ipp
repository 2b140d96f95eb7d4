#pragma once

#include <p2pdvm/runtime/peer.hpp>

#include <algorithm>
#include <cstring>

namespace p2pdvm::runtime {

namespace detail {

/// So long a newcomer's own connection is waited for; then it is dialled like any other member.
inline constexpr auto newcomer_time = std::chrono::seconds(3);

inline constexpr std::size_t join_datagram_bytes = link::datagram_plain_bytes_max - 16;

/// Whether who asks to join says that it can be reached where it came from; the port may be another one.
inline bool lists(const join_request& request, const std::optional<address>& source) {
  return source && std::any_of(request.addresses.begin(), request.addresses.end(), [&](const address& a) {
           return a.with_port(0) == source->with_port(0);
         });
}

/// What the record keeps of a ticket, to count its uses.
inline std::uint64_t word_of(const ticket& t) {
  std::uint64_t word = 0;
  const digest256 hash = crypto::hash(wire::encode(t));
  std::memcpy(&word, hash.bytes().data(), sizeof word);
  return word;
}

}  // namespace detail

// --- joining ---

P2PDVM_DECL result<ticket> peer::make_ticket(std::uint32_t uses) const {
  if (!exchange_ || !job_) return error(errc::not_found, "there is no job to give a ticket for");
  ticket t;
  t.swarm = digest256(setting_.swarm.bytes());
  t.job = job_->spec().id;
  t.uses = uses;
  t.expiry = machine_.clock().wall() + setting_.ticket_lifetime.count();
  t.serial = machine_.entropy().next();
  const auto own = own_contact();
  t.contacts.push_back({own.key, own.addresses});
  for (const auto& m : job_->record().members) {
    if (m.live() && m.node != identity_->id() && t.contacts.size() < 4)
      t.contacts.push_back({m.key(), m.addresses});
  }
  t.directory = job_directory(t.job, job_->secret()).signer.key();
  t.sign(*identity_);
  return t;
}

P2PDVM_DECL result<> peer::join(const ticket& with) {
  P2PDVM_ASSERT(exchange_ != nullptr);
  if (auto r = with.check(machine_.clock().wall()); !r.ok()) return r;
  if (!equal(with.swarm.bytes(), setting_.swarm.bytes()))
    return error(errc::wrong_job, "this ticket is for another swarm than this program's");
  const auto kept = folder_->job();
  if (kept == with.job) {
    if (folder_->lists(identity_->id())) return resume();
  } else if (auto r = folder_->vacant(); !r.ok()) {
    return r;
  }
  joiner_owner& owner = *this;
  joining_.emplace(owner, machine_.clock(), with);
  std::vector<overlay::contact> swarm;
  for (const auto& c : with.contacts) {
    auto node = exchange_->learn({c.key, c.addresses});
    if (!node.ok() || *node == identity_->id()) continue;
    joining_->add(*node);
    for (const address& a : c.addresses) swarm.push_back({c.key, a});
  }
  if (swarm.empty() && node_->table().size() == 0)
    return error(errc::unreachable, "this ticket names no peer but this one");
  if (!swarm.empty()) node_->join(machine_.clock().now(), swarm);
  arm_node();
  joining_->ask();
  return {};
}

/// The swarm keeps the addresses of the job's members, signed by a key that only they have.
P2PDVM_DECL void peer::look_for_members(const ticket& with) {
  node_->find(machine_.clock().now(), job_directory::target(with.job), with.directory,
              [this, alive = alive_](const result<overlay::found_record>& found) {
                if (!*alive || !joining_ || !found.ok()) return;
                const auto more =
                    wire::decode<std::vector<messaging::contact>>((*found).what.value);
                if (!more.ok()) return;
                for (const auto& c : *more) {
                  auto node = exchange_->learn(c);
                  if (node.ok() && *node != identity_->id()) joining_->add(*node);
                }
              });
  arm_node();
}

P2PDVM_DECL join_request peer::join_request_to(const node_id& whom, const std::optional<ticket>& with) {
  join_request request;
  request.job = with ? with->job : job_->spec().id;
  request.ticket = with;
  request.executable = setting_.executable;
  request.platform = setting_.platform;
  request.failure_domain = setting_.failure_domain;
  request.addresses = own_contact().addresses;
  request.storage_only = setting_.storage_only;
  request.is_ready = job_ != nullptr;
  request.is_guided = guide_ && guide_ != whom;
  request.place = place();
  return request;
}

P2PDVM_DECL void peer::ask_to_join(const node_id& whom, const std::optional<ticket>& with) {
  send(whom, join_request_to(whom, with));
}

P2PDVM_DECL void peer::ask_by_datagram(const node_id& whom, const ticket& with) {
  const messaging::contact* who = exchange_->find(whom);
  if (who == nullptr || who->addresses.empty()) return;
  join_datagram quick{join_request_to(whom, with), {}};
  const std::size_t bytes = wire::encoded_bytes(quick);
  if (bytes < detail::join_datagram_bytes) quick.padding.resize(detail::join_datagram_bytes - bytes);
  byte_vector plain{datagram_kind::joining};
  append(plain, wire::encode(quick));
  exchange_->send_datagram(who->key, who->addresses.front(), plain);
}

/// The others took this peer for lost. What it knows of the job is good, its ranks run elsewhere.
P2PDVM_DECL void peer::on_evicted() {
  joiner_owner& owner = *this;
  joining_.emplace(owner, machine_.clock());
  for (const auto& m : job_->record().members) {
    if (!m.live()) continue;
    joining_->add(m.node);
    exchange_->trust(m.node);
  }
  if (joining_->knows_nobody()) return joining_.reset();
  joining_->ask_after(std::chrono::milliseconds(500));
}

P2PDVM_DECL void peer::join_failed(const error& why) {
  joining_.reset();
  finish(why);
}

P2PDVM_DECL std::string peer::why_not(const node_id& from, const join_request& request) const {
  const auto& record = job_->record();
  if (record.state == checkpoint::job_state::done) return "the job is done already";
  if (record.state == checkpoint::job_state::failed) return "the job has failed: " + record.failure;
  // Who runs no ranks needs no program. If this peer is such a one itself, the job says with what it was made.
  const job_spec& spec = job_->spec();
  const bool knows = !setting_.storage_only;
  if (!request.storage_only && request.executable != (knows ? setting_.executable : spec.executable))
    return "your program is another build than the job's; every peer must run the same executable";
  if (!request.storage_only && request.platform != (knows ? setting_.platform : spec.platform))
    return "your platform computes other floating-point results than the job's peers, so that "
           "results would depend on where ranks run";
  if (record.find(from) != nullptr) return {};
  if (!request.ticket) return "you need a ticket to join";
  const ticket& t = *request.ticket;
  if (t.job != job_->spec().id || t.issuer != job_->spec().issuer)
    return "the ticket is not one of this job's maker";
  if (auto good = t.check(machine_.clock().wall()); !good.ok()) return good.error().message();
  const std::uint64_t id = detail::word_of(t);
  auto used = std::count_if(record.members.begin(), record.members.end(),
                            [&](const auto& m) { return m.ticket == id; });
  used += std::count_if(admissions_.begin(), admissions_.end(), [&](const auto& a) {
    return a.first != from && a.second.ticket == id && record.find(a.first) == nullptr;
  });
  if (t.uses > 0 && used >= t.uses) return "the ticket was used up";
  return {};
}

P2PDVM_DECL void peer::on_join_request(const node_id& from, join_request& request) {
  request.is_hidden = !detail::lists(request, exchange_->remote_address(from));
  if (!job_ || request.job != job_->spec().id)
    return send(from, join_refusal{"this peer does not work on that job", true, {}});
  if (std::string reason = why_not(from, request); !reason.empty())
    return send(from, join_refusal{std::move(reason), setting_.storage_only, {}});
  exchange_->trust(from);
  // Its process may be another one by now, which knows nothing of what that one was told.
  const auto since = awaited_.find(from);
  const bool awaited =
      since != awaited_.end() && machine_.clock().now() - since->second < detail::newcomer_time;
  if (awaited && job_->links().contains(from)) exchange_->keep(from);
  if (!request.is_ready) {
    // Who was quicker by datagrams has had its welcome; its second step comes right behind.
    if (awaited || admissions_.contains(from)) return;
    job_->allow_reader(from);
    return send(from, welcome_for(from, request));
  }
  if (awaited) {
    awaited_.erase(from);
    send(from, join_queued());
    return be_followed_by(from, request);
  }
  const node_id admits = admitter();
  if (admits != identity_->id()) return pass_on(from, request, admits);
  if (!note_applicant(from, request))
    return send(from, join_refusal{"too many others are joining; try again later", false, {}});
  be_followed_by(from, request);
  send(from, join_queued());
  admit_waiting();
}

/// A good request that was quicker than its connection. What is wrong with another one is said on
/// that, where a lie about the address costs nobody anything.
P2PDVM_DECL void peer::on_join_datagram(const public_key& key, const address& where, byte_view bytes) {
  auto decoded = wire::decode<join_datagram>(bytes);
  if (!decoded.ok()) return;
  const node_id from = crypto::node_id_of(key);
  if (auto* answer = std::get_if<welcome>(&decoded->what)) return on_welcome(from, std::move(*answer));
  join_request& request = std::get<join_request>(decoded->what);
  request.is_hidden = !detail::lists(request, where);
  // Who has been in the job before must know of the newest record what it was.
  if (!job_ || !first_record_ || request.job != job_->spec().id || !job_->is_member() ||
      job_->record().state != checkpoint::job_state::forming ||
      job_->record().find(from) != nullptr || !why_not(from, request).empty())
    return;
  if (request.is_ready) {
    if (!note_applicant(from, request)) return;
    awaited_.try_emplace(from, machine_.clock().now());
    return admit_waiting();
  }
  join_datagram quick{welcome_for(from, request), {}};
  byte_vector plain{datagram_kind::joining};
  append(plain, wire::encode(quick));
  if (plain.size() > bytes.size() + 1) return;
  job_->allow_reader(from);
  exchange_->send_datagram(key, where, plain);
}

P2PDVM_DECL welcome peer::welcome_for(const node_id& from, const join_request& request) {
  welcome answer{job_->spec(), job_->secret(), {}, {}, {}};
  const auto& record = job_->record();
  if (!first_record_ || record.find(from) != nullptr ||
      record.state != checkpoint::job_state::forming) {
    answer.newest = job_->keeper().update();
    return answer;
  }
  answer.newest = *first_record_;
  messaging::contact newcomer{public_key(from.bytes()), request.addresses};
  if (newcomer.addresses.size() > told_addresses_max)
    newcomer.addresses.resize(told_addresses_max);
  answer.guide = reception_->guide_of(newcomer, record, job_->spec().peers);
  answer.others = reception_->others_than(newcomer.key);
  return answer;
}

/// The same member by the records of nearly all: the first that can be reached from here.
P2PDVM_DECL node_id peer::admitter() const {
  const auto& record = job_->record();
  if (record.state == checkpoint::job_state::forming) {
    for (const auto& m : record.members) {
      if (m.live() && (m.node == identity_->id() || exchange_->connected(m.node))) return m.node;
    }
  }
  return identity_->id();
}

/// False when there are too many.
P2PDVM_DECL bool peer::note_applicant(const node_id& from, const join_request& request) {
  if (admissions_.size() >= limits::members_max && !admissions_.contains(from)) return false;
  checkpoint::member joiner;
  joiner.node = from;
  joiner.addresses = request.addresses;
  if (joiner.addresses.size() > checkpoint::member_addresses_max)
    joiner.addresses.resize(checkpoint::member_addresses_max);
  joiner.failure_domain = request.failure_domain.substr(0, checkpoint::failure_domain_bytes_max);
  if (overlay::unpack(request.place).ok()) joiner.place = request.place;
  if (request.storage_only) joiner.flags |= checkpoint::member::storage_only;
  if (request.is_hidden) joiner.flags |= checkpoint::member::hidden;
  if (request.ticket) joiner.ticket = detail::word_of(*request.ticket);
  admissions_[from] = std::move(joiner);
  return true;
}

P2PDVM_DECL void peer::be_followed_by(const node_id& from, const join_request& request) {
  if (request.is_guided) return;
  if (job_->record().state == checkpoint::job_state::forming) return job_->be_followed_by(from);
  if (job_->record().is_live(from)) send(from, job_->keeper().update());
}

P2PDVM_DECL void peer::pass_on(const node_id& from, join_request request, const node_id& admits) {
  job_->be_followed_by(from);
  send(from, join_queued());
  send(admits, passed_join{from, std::move(request)});
}

P2PDVM_DECL void peer::on_passed_join(const node_id& from, const passed_join& message) {
  if (!job_ || !job_->record().is_live(from) || !job_->is_member()) return;
  std::string reason = why_not(message.joiner, message.request);
  if (reason.empty() && !note_applicant(message.joiner, message.request))
    reason = "too many others are joining; try again later";
  if (!reason.empty()) return send(from, join_refusal{std::move(reason), false, message.joiner});
  admit_waiting();
}

/// Asks another member for what is new, when the one that told it is gone.
P2PDVM_DECL void peer::follow(const node_id& whom) {
  guide_ = whom;
  if (whom != identity_->id()) send(whom, follow_request{job_->spec().id});
}

P2PDVM_DECL bool peer::is_awaited(const node_id& node) const {
  const auto found = awaited_.find(node);
  return found != awaited_.end() && !exchange_->connected(node) &&
         machine_.clock().now() - found->second < detail::newcomer_time;
}

/// One write admits all who asked until the keepers were ready for it; later ones wait for the
/// next, which in a large job comes after a pause, unless nobody is missing then.
P2PDVM_DECL void peer::admit_waiting() {
  if (!job_ || admissions_.empty() || admitting_) return;
  const bool forming = job_->record().state == checkpoint::job_state::forming;
  const auto hosts = std::count_if(admissions_.begin(), admissions_.end(), [](const auto& a) { return a.second.can_host(); });
  const bool whole = job_->record().host_count() + static_cast<std::size_t>(hosts) >= job_->spec().peers;
  if (!forming || whole || reception_->next_write() <= machine_.clock().now()) return write_admissions();
  admit_timer_.at(reception_->next_write(), [this] { admit_waiting(); });
}

P2PDVM_DECL void peer::write_admissions() {
  admitting_ = true;
  admit_timer_.cancel();
  auto batch = std::make_shared<std::vector<checkpoint::member>>();
  job_->keeper().propose(
      [this, alive = alive_, batch](const checkpoint::job_record& r) -> result<checkpoint::job_record> {
        if (!*alive) return error(errc::conflict, "this peer is gone");
        batch->clear();
        for (const auto& [node, joiner] : admissions_) batch->push_back(joiner);
        auto next = checkpoint::admit(r, *batch);
        if (next.ok())
          reception_->wrote(machine_.clock().now(), wire::encoded_bytes(*next), next->keepers.size());
        return next;
      },
      [this, alive = alive_, batch](const result<>& written) {
        if (!*alive || !job_) return;
        if (batch->empty()) {  // it was refused before anybody looked
          for (const auto& [node, joiner] : admissions_) batch->push_back(joiner);
        }
        on_admitted(*batch, written);
      });
}

P2PDVM_DECL void peer::on_admitted(const std::vector<checkpoint::member>& batch,
                                   const result<>& written) {
  admitting_ = false;
  for (const checkpoint::member& joiner : batch) {
    admissions_.erase(joiner.node);
    if (!job_->record().is_live(joiner.node)) {
      awaited_.erase(joiner.node);
      send(joiner.node, join_refusal{written.ok() ? "the job has as many members as it may have"
                                                  : written.error().message(), false, {}});
    } else if (is_awaited(joiner.node)) {
      // It is told when it comes.
    } else if (!written.ok() || job_->record().state != checkpoint::job_state::forming) {
      // Followers have been told; who was a member before may have missed that.
      send(joiner.node, job_->keeper().update());
    }
  }
  admit_waiting();
}

P2PDVM_DECL void peer::on_welcome(const node_id& from, welcome message) {
  if (job_ || !joining_ || !joining_->has_asked(from) || !joining_->is_meant(message.spec)) return;
  if (auto r = message.spec.validate(); !r.ok()) return join_failed(r.error());
  if (!setting_.storage_only && message.spec.program != program_.name())
    return join_failed(error(errc::incompatible, "the job runs the program '" +
                                                     message.spec.program + "', this one is '" +
                                                     program_.name() + "'"));
  const auto& record = message.newest.record;
  auto believed = record.validate();
  if (believed.ok()) believed = checkpoint::verify(record, message.newest.proof, record.keepers);
  if (!believed.ok()) return join_failed(believed.error());
  if (!message.spec.fits(record))
    return join_failed(error(errc::malformed, "the peer that answered sent the record of another job"));
  // This identity has been in the job, but its folder knows nothing of that any more.
  const bool again = record.is_live(identity_->id());
  if (record.is_kept_by(identity_->id()))
    return join_failed(error(errc::lost, "this peer's identity keeps the record of that job, but what it promised is "
                                         "gone from " + machine_.disk().describe("") + "; restore the folder from a "
                                         "copy, or remove it and join as a new peer"));
  job_identity who{std::move(message.spec), message.secret};
  if (auto r = folder_->keep(identity_->id(), who, message.newest); !r.ok()) return join_failed(r.error());
  joining_->pause();
  exchange_->trust(from);
  guide_ = from;
  if (message.others.size() > reception::others_max) message.others.resize(reception::others_max);
  for (const messaging::contact& c : message.others) {
    const auto other = exchange_->learn(c);
    if (other.ok() && *other != identity_->id()) joining_->add(*other);
  }
  if (message.guide) {
    const auto guide = exchange_->learn(*message.guide);
    if (guide.ok() && *guide != identity_->id()) {
      joining_->add(*guide);
      guide_ = *guide;
      exchange_->trust(*guide);
      send(*guide, follow_request{who.spec.id});
    }
  }
  // The one that answered may die before it admits.
  for (const checkpoint::member& m : record.members) {
    if (m.live() && m.node != identity_->id()) joining_->add(m.node);
  }
  begin(std::move(who), std::move(message.newest), std::nullopt);
  if (again) return job_->begin_resumed();  // its ranks died with the process before
  job_->begin();
  job_->fetch_inputs(from, [this, alive = alive_](const result<>& fetched) {
    if (!*alive) return;
    if (!fetched.ok()) return join_failed(fetched.error());
    // A member's disk knows the job: else a process that comes back would not know what it is.
    log_->sync([this, alive](const result<>& synced) {
      if (!*alive) return;
      if (!synced.ok()) return join_failed(synced.error());
      if (joining_) joining_->ask_again();
    });
  });
}

P2PDVM_DECL void peer::maybe_start() {
  if (!job_) return;
  const auto& record = job_->record();
  if (record.state != checkpoint::job_state::forming) return;
  const bool enough = record.host_count() >= job_->spec().peers;
  event e;
  e.kind = event_kind::waiting_peers;
  e.count = record.host_count();
  e.text = std::to_string(job_->spec().peers);
  if (!enough) return context_->tell(std::move(e));
  // With one keeper of several members the job would end with that one.
  if (record.keepers.size() == 1 && record.needs_upkeep() && record.previous_keepers.empty()) return;
  for (const auto& m : record.members) {
    if (!m.live()) continue;
    if (m.node == identity_->id())
      job_->keeper().propose([this, alive = alive_](const checkpoint::job_record& r) -> result<checkpoint::job_record> {
        if (!*alive) return error(errc::conflict, "this peer is gone");
        return checkpoint::start(r, checkpoint::near_placement(r, job_->distances(r)));
      });
    return;
  }
}

}  // namespace p2pdvm::runtime
