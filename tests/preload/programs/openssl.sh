#!/bin/bash
# SPDX-License-Identifier: MIT
# Digests, ciphers, a key and a certificate made on the spot, signed mail.
set -eu
export OPENSSL_CONF=/dev/null
seq 1 200000 > data
for digest in md5 sha1 sha256 sha512 blake2b512 sha3-256; do
    openssl dgst -$digest data
done
cipher='-aes-256-ctr -pbkdf2 -iter 2000 -S 0011223344556677 -k secret' # several words
openssl enc $cipher -in data -out data.aes
sha256sum data.aes
openssl enc -d $cipher -in data.aes | cmp - data
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out key.pem 2> /dev/null
openssl req -x509 -new -key key.pem -subj /CN=localhost -days 2 -config <(echo '[req]
distinguished_name=d
[d]') -out cert.pem
openssl verify -CAfile cert.pem cert.pem
openssl dgst -sha256 -sign key.pem -out sig data
openssl dgst -sha256 -verify <(openssl pkey -in key.pem -pubout) -signature sig data
openssl smime -sign -signer cert.pem -inkey key.pem -in data -outform PEM -out signed -nodetach
openssl smime -verify -CAfile cert.pem -in signed -inform PEM 2> /dev/null |
    cmp - <(sed 's/$/\r/' data)
openssl pkcs12 -export -inkey key.pem -in cert.pem -passout pass:x |
    openssl pkcs12 -passin pass:x -nodes -nocerts 2> /dev/null | grep -c KEY
