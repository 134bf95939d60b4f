# SPDX-License-Identifier: Apache-2.0
# bash completion for proa-audit(1)
_proa_audit() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} verb='' w options='--help --version'

	case $prev in
	--root | --esp | --state | --repository)
		mapfile -t COMPREPLY < <(compgen -d -- "$cur")
		return
		;;
	--nonce | --ak | --time | --channel | --tpm) return ;;
	--disk | --key | --secret | --ek-ca | --challenge | --trusted-root | --uki | --loader)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	esac
	for w in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
		case $w in report | verify | diff | challenge | anchor | keys) verb=$w ;; esac
	done
	case $verb in
	'') [[ $cur == -* ]] || options='report verify diff challenge anchor keys' ;;
	report) options='--next --pcr --deep --all --json --root --esp --disk --state --repository --time --attest
		--nonce --challenge --tpm' ;;
	verify) options='--key --ak --nonce --secret --ek-ca --repository --trusted-root --channel --uki
		--loader --json --time' ;;
	challenge) options=--secret ;;
	anchor | keys) options=--tpm ;;
	esac
	if [[ $cur != -* && $verb =~ ^(verify|diff|challenge)$ ]]; then
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
	else
		mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
	fi
}
complete -F _proa_audit proa-audit
