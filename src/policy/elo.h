/* SPDX-License-Identifier: MIT
 *
 * policy: ELO, the arithmetic. Twelve strategies, each a large threshold, play for the fewest
 * nanoseconds an operation. Time and counters are inputs: no clock, no thread, no system.
 * doc/policy.md has the model and where its constants come from.
 *
 *   epochs:   leader | challenger | leader | leader ... | challenger | leader
 *             \______ a match _______/
 *
 * A match is what a challenger's epoch cost beside the leader's before and after it, where all three
 * had the same kind of load. Two strategies between whose thresholds no request falls are one: the
 * one of them that has played most stands for all.
 *
 * Invariants:
 *   E1  the ratings' sum stays 12 * 1500: what one wins the other loses.
 *   E2  of all epochs no more than the share asked for are a challenger's; and none is, while what
 *       challengers cost more than the leader would have is beyond a share of all time.
 *   E3  a rating stays within 1500 -+ ELO_REACH.
 */
#ifndef HAK_ELO_H
#define HAK_ELO_H

#include "base/hak_base.h"

enum {
    ELO_N = 12,
    ELO_BUCKETS = ELO_N + 1, /* sizes between two thresholds, below the first, above the last */
    ELO_START = 1500,
    ELO_REACH = 800,
    ELO_EPOCH_OPS = 32,     /* fewer tell nothing */
    ELO_EPOCH_MS = 10,      /* at first; */
    ELO_EPOCH_MS_MAX = 320, /* longer where the load differs from one to the next */
};

/* Thresholds in bytes, geometric, in whole units. */
extern const uint32_t elo_threshold[ELO_N];

/* How many thresholds are n or less: strategies below that give n a mapping. */
unsigned elo_bucket(size_t n);

/* What requests of elo_threshold[0] and more took of the program's time. */
struct elo_work {
    uint32_t ops;  /* so many requests */
    double ns;     /* in malloc, free, realloc of such */
    double faults; /* page faults of the process meanwhile */
};

/* What ran under one strategy for a while. */
struct elo_epoch {
    unsigned strategy;
    bool cut;                     /* elo_hopeless ended it */
    struct elo_work work;         /* what counts, */
    struct elo_work settling;     /* and what the change of strategy took before that */
    double span_ns;               /* how long both were */
    uint32_t bucket[ELO_BUCKETS]; /* of work.ops, by size */
    double idle;                  /* MiB * ms that were held free */
};

struct elo_weights { /* ns for one of each */
    double ns, fault, idle;
};

enum elo_event {
    ELO_NOTHING,
    ELO_MATCH,  /* was played: see match_* */
    ELO_LEADER, /* and brought another leader */
    ELO_FROZEN, /* and was the last one */
    ELO_OPENED, /* the load has changed: all may play again */
};

struct elo {
    double rating[ELO_N];
    uint32_t games[ELO_N];
    uint8_t routs[ELO_N]; /* matches lost by far: two, and it plays no more */
    struct elo_weights weights;
    unsigned epoch_ms; /* how long an epoch shall be */
    double explore;    /* share of epochs, 0 to 1 */
    double span_ns;    /* all epochs so far */
    double credit;     /* ns that challengers may lose; negative: that they lost too much */
    unsigned leader, playing;
    bool frozen;
    /* Of the match going on. */
    bool waits; /* the challenger has played, the leader plays the second time */
    bool have_first;
    bool alike; /* the leader's last two epochs had the same kind of load */
    struct elo_epoch first, second;
    /* So far. */
    uint32_t epochs, explored;
    uint32_t led;              /* matches in a row that saw the leader far ahead */
    uint32_t stable;           /* matches since the leader changed */
    uint32_t shifted, drifted; /* epochs in a row that looked like another load */
    double mix[ELO_BUCKETS], usual[ELO_BUCKETS]; /* shares of sizes, of late and as a rule */
    double cost;                                 /* the leader's, when it was frozen */
    /* The last match, for a line about it. */
    unsigned match_leader, match_rival;
    double match_cost[2], match_points; /* leader's and rival's; points the leader won */
};

void elo_init(struct elo *e, unsigned first, double explore, struct elo_weights weights);
/* Begin where an earlier process stopped. The ratings are brought back to their sum and reach. */
void elo_resume(struct elo *e, const double *rating, const uint32_t *games);
/* An epoch is over. e->playing is the strategy of the next one. */
enum elo_event elo_step(struct elo *e, const struct elo_epoch *done);
/* The epoch going on will tell nothing: the leader plays. */
void elo_abandon(struct elo *e);
/* A challenger's epoch need not go on: it is lost. */
bool elo_hopeless(const struct elo *e, const struct elo_epoch *so_far);

/* ns an operation. */
double elo_cost(const struct elo_epoch *p, const struct elo_weights *w);
/* The score that Elo expects of one who is so many points ahead: 1 / (1 + 10^(-points / 400)). */
double elo_expected(double points);
/* The score of a strategy whose operations cost `own` against one whose cost `other`. */
double elo_score(double own, double other);
/* K: how many points a match is about. */
double elo_k(uint32_t games_a, uint32_t games_b);
/* How different two mixes of sizes are: 0 the same, 2 nothing in common. */
double elo_distance(const double *a, const double *b);

#endif /* HAK_ELO_H */
