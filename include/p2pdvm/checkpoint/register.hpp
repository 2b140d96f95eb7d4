/// The replicated register that holds a job's record: CASPaxos over the keepers.
#pragma once

#include <p2pdvm/checkpoint/acceptor.hpp>
#include <p2pdvm/checkpoint/certificate.hpp>
#include <p2pdvm/checkpoint/proposer.hpp>
#include <p2pdvm/checkpoint/transitions.hpp>
