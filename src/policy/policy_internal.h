/* SPDX-License-Identifier: MIT
 *
 * policy's own.
 *
 *   threshold.c   ELO at work: epochs of the real program      elo.h   the arithmetic
 *   caches.c      ACE at work: looks at every cache            ace.h   the arithmetic
 *   explain.c     a line for each decision
 *   profile.c     what was learned, from one process to the next
 */
#ifndef HAK_POLICY_INTERNAL_H
#define HAK_POLICY_INTERNAL_H

#include "policy/policy.h"

/* From hak_opt to ss_params. */
void batch_init(void);
/* Find the nodes, unless hak_opt says that there is one. */
void numa_init(void);
/* A tick: the process may have been given other nodes. */
void numa_tick(void);

/* ---- ELO. ---- */
void threshold_init(void);
void threshold_fork_child(bool alone);

/* ---- ACE. ---- */
/* Once the bins' numbers are there. */
void caches_init(void);
/* Look at all caches, if it is time; never under pressure. No lock held. */
void caches_look(void);
/* How often that is worth a call. UINT64_MAX: never. */
uint64_t caches_look_ns(void);
void caches_fork_child(void);

/* ---- Explain: a line for each decision, to where HAKMEM_EXPLAIN says. ---- */
struct hak_text;
void explain_init(void);
bool explain_wanted(void);
/* "hakmem: explain: t=1.234 s, " and the text; no more than 20 a second: those left out are counted in the
 * next line. No lock may be held but policy's own. */
void explain(const char *text);
/* "512 KB", "8 MB": as start-up lines have it. Returns text. */
enum { POLICY_SIZE_MAX = 32 };
const char *policy_size(char *text, size_t bytes);

/* ---- Profiles. What goes in and out of one, by line. ---- */
/* Append "elo ..." and "ace ..." lines; nothing where nothing was learned. */
void threshold_profile_save(struct hak_text *t);
void caches_profile_save(struct hak_text *t);
/* One of those lines. false: not one that there is. try: change nothing. */
bool threshold_profile_line(const char *line, bool try);
bool caches_profile_line(const char *line, bool try);
/* Numbers after `word` in a line, at most n of them, parted by blanks. false: another word, or not so many
 * numbers. */
bool profile_numbers(const char *line, const char *word, uint64_t *value, unsigned n);

#endif /* HAK_POLICY_INTERNAL_H */
