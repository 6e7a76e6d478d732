#!/usr/bin/env perl
# SPDX-License-Identifier: MIT
# A web server's day in miniature, for tools/demo: parse requests, keep sessions, count words,
# build answers, forget the oldest. Deterministic; prints a checksum.
use strict;
use warnings;

my $seed = 12345;
sub random { $seed = ($seed * 1103515245 + 12345) & 0x7fffffff; return ($seed >> 8) % $_[0] }

my (%sessions, @order, %words);
my $sum = 0;
my $requests = shift // 240_000;
for my $request (1 .. $requests) {
    my $id = sprintf 'session-%06d', random(40_000);
    my $line = join '&',
        map { "key$_=" . ('v' x random(60)) . random(1000) } 1 .. 6 + random(8);
    my %field = map { split /=/, $_, 2 } split /&/, $line;
    if (!$sessions{$id}) {
        $sessions{$id} = { id => $id, history => [], body => '' };
        push @order, $id;
    }
    my $session = $sessions{$id};
    push @{ $session->{history} }, { request => $request, field => \%field };
    shift @{ $session->{history} } if @{ $session->{history} } > 4;
    $session->{body} =
        '<html>' . join('', map { "<td>$_</td><td>$field{$_}</td>" } sort keys %field);
    $words{$_}++ for map { substr $_, -3 } values %field;
    $sum = ($sum * 31 + length $session->{body}) % 1_000_003;
    delete $sessions{ shift @order } if @order > 20_000;
}
printf "%d requests, %d sessions, %d words, checksum %d\n", $requests, scalar(keys %sessions),
    scalar(keys %words), $sum;
