#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>

#include "engine_runs.h"

// Says what is tested before it tests: which instruction sets there are depends on the machine.
int main(int argument_count, char** arguments) {
  std::printf("instruction sets:");
  for (const musicstar::cpu::Isa isa : musicstar::tests::tested_isas()) {
    std::printf(" %s", musicstar::cpu::name_of(isa));
  }
  std::printf("\n");
  return doctest::Context(argument_count, arguments).run();
}
